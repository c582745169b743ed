#include "cni/endpoint_store.h"

#include <boost/json.hpp>

#include "cni/render.h"

namespace fairway::cni {
namespace json = boost::json;
namespace {

constexpr std::size_t kCompactBytes = 256 << 10;  // less history than this costs nothing

std::string endpoint_record(const char* op, const model::LocalEndpoint& endpoint) {
  return std::string("{\"op\":\"") + op + "\",\"endpoint\":" + render_endpoint(endpoint) + "}";
}

std::string owner_of(const Attachment& key) { return key.container_id + "/" + key.ifname; }

Attachment key_of(const model::LocalEndpoint& endpoint) { return {endpoint.sandbox_id, endpoint.ifname}; }

std::string text_of(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

}  // namespace

Result<EndpointStore> EndpointStore::open(const std::string& path, std::string boot_id, std::chrono::seconds cool_down, WallTime now) {
  EndpointStore store(std::move(boot_id), cool_down);
  FW_ASSIGN(Journal journal, Journal::open(path, [&](std::string_view record) { store.replay(record, now); }));
  if (journal.damaged_records() > 0)
    store.warnings_.push_back(path + ": " + std::to_string(journal.damaged_records()) + " damaged records left out, the file is kept as " +
                              path + ".damaged");
  store.journal_ = std::make_unique<Journal>(std::move(journal));
  if (store.journal_boot_id_ != store.boot_id_) store.drop_all(now);
  FW_TRY(store.rewrite(now));
  return store;
}

void EndpointStore::replay(std::string_view record, WallTime now) {
  json::error_code failed;
  const json::value value = json::parse(record, failed);
  if (failed || !value.is_object()) {
    warnings_.push_back("journal: a record is not a JSON object");
    return;
  }
  const json::object& object = value.get_object();
  const std::string op = text_of(object, "op");
  if (op == "boot") {
    if (!journal_boot_id_.empty()) drop_all(now);
    journal_boot_id_ = text_of(object, "id");
    return;
  }
  if (op == "intend" || op == "finish") {
    const json::value* endpoint = object.if_contains("endpoint");
    replay_endpoint(endpoint != nullptr ? json::serialize(*endpoint) : "", op == "finish");
    return;
  }
  if (op != "free") {
    warnings_.push_back("journal: a record of an unknown kind, " + op);
    return;
  }
  rows_.erase({text_of(object, "sandbox"), text_of(object, "ifname")});
  const json::value* time = object.if_contains("time");
  const json::value* seen = object.if_contains("seen");
  const json::value* ips = object.if_contains("ips");
  if (time == nullptr || !time->is_int64() || ips == nullptr || !ips->is_array()) {
    warnings_.push_back("journal: a free record lacks time or addresses");
    return;
  }
  for (const auto& item : ips->get_array()) {
    if (!item.is_string()) continue;
    if (auto ip = net::IpAddr::parse(item.get_string()); ip.ok())
      ipam_.release(*ip, WallTime(std::chrono::seconds(time->get_int64())), seen != nullptr && seen->is_bool() && seen->get_bool());
  }
}

void EndpointStore::replay_endpoint(std::string_view text, bool finished) {
  auto endpoint = parse_endpoint(text);
  if (!endpoint.ok()) {
    warnings_.push_back("journal: " + endpoint.error().message);
    return;
  }
  const Attachment key = key_of(*endpoint);
  if (!finished || !rows_.contains(key)) {
    for (const auto& ip : endpoint->ips) {
      if (!ipam_.restore(owner_of(key), ip))
        warnings_.push_back("journal: address " + ip.to_string() + " has two owners, one is " + owner_of(key));
    }
  }
  rows_.insert_or_assign(key, StoredEndpoint{*std::move(endpoint), finished});
}

void EndpointStore::drop_all(WallTime now) {
  for (const auto& [key, row] : rows_) {
    for (const auto& ip : row.endpoint.ips) ipam_.release(ip, now, true);
  }
  rows_.clear();
}

Status EndpointStore::intend(model::LocalEndpoint& endpoint, const std::vector<net::IpAddr>& wanted, WallTime now) {
  const Attachment key = key_of(endpoint);
  if (rows_.contains(key))
    return make_error(Code::kAlreadyExists, "sandbox " + key.container_id + " has interface " + key.ifname + " already");
  FW_ASSIGN(endpoint.ips, ipam_.allocate(owner_of(key), wanted, now));
  if (Status status = journal_->append(endpoint_record("intend", endpoint)); !status.ok()) {
    for (const auto& ip : endpoint.ips) ipam_.release(ip, now, false);
    return status;
  }
  rows_.emplace(key, StoredEndpoint{endpoint, false});
  return {};
}

Status EndpointStore::finish(const model::LocalEndpoint& endpoint) {
  const auto row = rows_.find(key_of(endpoint));
  if (row == rows_.end()) return make_error(Code::kInternal, "finished endpoint " + endpoint.sandbox_id + " was never begun");
  FW_TRY(journal_->append(endpoint_record("finish", endpoint)));
  row->second = {endpoint, true};
  return {};
}

std::string EndpointStore::free_record(const Attachment& key, const std::vector<net::IpAddr>& ips, WallTime now, bool seen) const {
  json::array addresses;
  for (const auto& ip : ips) addresses.emplace_back(ip.to_string());
  return json::serialize(json::object{{"op", "free"},
                                      {"sandbox", key.container_id},
                                      {"ifname", key.ifname},
                                      {"time", now.time_since_epoch().count()},
                                      {"seen", seen},
                                      {"ips", std::move(addresses)}});
}

Status EndpointStore::free(const Attachment& key, WallTime now, bool seen) {
  const auto row = rows_.find(key);
  if (row == rows_.end()) return {};
  const std::vector<net::IpAddr> ips = row->second.endpoint.ips;
  FW_TRY(journal_->append(free_record(key, ips, now, seen)));
  for (const auto& ip : ips) ipam_.release(ip, now, seen);
  rows_.erase(row);
  return {};
}

const StoredEndpoint* EndpointStore::find(const Attachment& key) const {
  const auto row = rows_.find(key);
  return row == rows_.end() ? nullptr : &row->second;
}

void EndpointStore::compact_if_worth(WallTime now) {
  if (journal_->size_bytes() < kCompactBytes + 2 * compacted_bytes_) return;
  if (Status status = rewrite(now); !status.ok()) warnings_ = {"journal cannot be compacted: " + status.error().message};
}

Status EndpointStore::rewrite(WallTime now) {
  ipam_.forget_cooled(now);
  std::vector<std::string> records{json::serialize(json::object{{"op", "boot"}, {"id", boot_id_}})};
  for (const auto& [addr, time] : ipam_.freed()) records.push_back(free_record({}, {addr}, time, true));
  for (const auto& [key, row] : rows_) records.push_back(endpoint_record(row.finished ? "finish" : "intend", row.endpoint));
  FW_TRY(journal_->rewrite(records));
  compacted_bytes_ = journal_->size_bytes();
  return {};
}

}  // namespace fairway::cni
