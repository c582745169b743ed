#include "policycheck/compare.h"

#include <algorithm>
#include <boost/json.hpp>
#include <map>
#include <set>

namespace fairway::policycheck {
namespace {

namespace bj = boost::json;
constexpr std::size_t kMaxFaults = 20;

std::map<std::string, const End*> by_name(const Check& check) {
  std::map<std::string, const End*> out;
  for (const End& end : check.ends()) out.emplace(end.name, &end);
  return out;
}

// Of one end in both: a part of the outside that only one side names is in the other what lies around it.
struct Pair {
  std::string name;
  const End *before, *after;
};

const End* surrounding(const Check& check, const Check& other, const End& end) {
  const Party& party = other.parties()[end.parties.front()];
  const auto ids = check.parties().outside_within(net::Prefix(party.addr));
  for (const End& own : check.ends())
    if (!ids.empty() && own.kind == End::Kind::kOutside && own.parties.front() == ids.front()) return &own;
  return nullptr;
}

std::vector<Pair> pairs_of(const Check& before, const Check& after, Difference& out) {
  const auto old_ends = by_name(before), new_ends = by_name(after);
  std::vector<Pair> pairs;
  for (const auto& [name, end] : old_ends) {
    const auto at = new_ends.find(name);
    if (at != new_ends.end()) pairs.push_back({name, end, at->second});
    else if (const End* around = end->kind == End::Kind::kOutside ? surrounding(after, before, *end) : nullptr)
      pairs.push_back({name, end, around});
    else out.removed.push_back(name);
  }
  for (const auto& [name, end] : new_ends) {
    if (old_ends.contains(name)) continue;
    if (const End* around = end->kind == End::Kind::kOutside ? surrounding(before, after, *end) : nullptr)
      pairs.push_back({name, around, end});
    else out.added.push_back(name);
  }
  return pairs;
}

class Chosen {
 public:
  explicit Chosen(const std::vector<const End*>& ends) : ends_(ends.begin(), ends.end()) {
    for (const End* end : ends) names_.insert(end->name);
  }
  bool has(const End* end) const { return ends_.contains(end); }
  bool has(const std::string& name) const { return names_.contains(name); }

 private:
  std::set<const End*> ends_;
  std::set<std::string> names_;
};

// A workload whose labels changed is asked for by the old ones or the new; a part of the outside only where the name is its own.
std::vector<const Pair*> chosen_of(const std::vector<Pair>& pairs, const Chosen& before, const Chosen& after) {
  std::vector<const Pair*> out;
  for (const Pair& pair : pairs) {
    const bool was = before.has(pair.before), is = after.has(pair.after);
    const bool whole = (was || pair.before->name != pair.name) && (is || pair.after->name != pair.name);
    if (pair.before->kind == End::Kind::kWorkload ? was || is : whole) out.push_back(&pair);
  }
  return out;
}

std::size_t workloads_in(const std::vector<const Pair*>& pairs) {
  return static_cast<std::size_t>(
      std::count_if(pairs.begin(), pairs.end(), [](const Pair* pair) { return pair->before->kind == End::Kind::kWorkload; }));
}

std::string words(const std::string& text) { return text.substr(0, 253); }

bj::object render(const Replayed& one) {
  constexpr const char* kResults[] = {"passes", "cut", "denied-before", "unknown"};
  return {{"src", one.flow.src},     {"dst", one.flow.dst},      {"port", one.flow.port.to_string()},
          {"count", one.flow.count}, {"line", one.flow.at.line}, {"result", kResults[static_cast<int>(one.result)]},
          {"reason", one.reason}};
}

}  // namespace

Result<Difference> compare(const Check& before, const Check& after, const Compared& compared) {
  Difference out;
  const auto pairs = pairs_of(before, after, out);
  const Chosen old_from(compared.before.from), old_to(compared.before.to), new_from(compared.after.from), new_to(compared.after.to);
  const auto from_pairs = chosen_of(pairs, old_from, new_from), to_pairs = chosen_of(pairs, old_to, new_to);
  const auto drop = [](std::vector<std::string>& names, const Chosen& from, const Chosen& to) {
    std::erase_if(names, [&](const std::string& name) { return !from.has(name) && !to.has(name); });
  };
  drop(out.removed, old_from, old_to);
  drop(out.added, new_from, new_to);
  const std::size_t from = workloads_in(from_pairs), to = workloads_in(to_pairs);
  FW_TRY(
      check_cells(cells(from, from_pairs.size() - from, to, to_pairs.size() - to), kMaxComparedCells, "narrow them with --from and --to"));
  for (const Pair* from_pair : from_pairs)
    for (const Pair* to_pair : to_pairs) {
      if (from_pair->before->kind != End::Kind::kWorkload && to_pair->before->kind != End::Kind::kWorkload) continue;
      const Cell was = before.between(*from_pair->before, *to_pair->before), is = after.between(*from_pair->after, *to_pair->after);
      Change change{from_pair->name, to_pair->name, (is.some - was.some) | (is.every - was.every),
                    (was.some - is.some) | (was.every - is.every)};
      if (!change.opened.empty() || !change.closed.empty()) out.changes.push_back(std::move(change));
    }
  return out;
}

Result<Difference> compare(const Check& before, const Check& after) {
  const auto all = [](const Check& check) {
    Selection out;
    for (const End& end : check.ends()) out.from.push_back(&end);
    out.to = out.from;
    return out;
  };
  return compare(before, after, {all(before), all(after)});
}

std::string Flow::to_string() const { return src + " -> " + dst + ":" + port.to_string(); }

namespace {

Result<Flow> parse_flow(std::string_view line) {
  if (line.size() > kMaxFlowLine) return make_error(Code::kInvalid, "is longer than 4096 bytes");
  boost::system::error_code error;
  const auto value = bj::parse(line, error);
  if (error) return make_error(Code::kInvalid, "is no JSON: " + error.message());
  if (!value.is_object()) return make_error(Code::kInvalid, "is no JSON object");
  Flow out;
  for (const auto& [key, to] : {std::pair{"src", &out.src}, std::pair{"dst", &out.dst}}) {
    const auto* text = value.get_object().if_contains(key);
    if (text == nullptr || !text->is_string() || text->get_string().empty())
      return make_error(Code::kInvalid, std::string(key) + ": is no name or address");
    *to = words(std::string(text->get_string()));
  }
  const std::int64_t port = apiserver::int_at(value, "port", -1);
  if (port < 0 || port > 65535) return make_error(Code::kInvalid, "port: is no number from 0 to 65535");
  const auto protocol = net::parse_protocol(apiserver::text_at(value, "protocol", "TCP"));
  if (!protocol) return make_error(Code::kInvalid, "protocol: is not TCP, UDP or SCTP");
  out.port = {static_cast<std::uint8_t>(*protocol), static_cast<std::uint16_t>(port)};
  const std::int64_t count = apiserver::int_at(value, "count", 1);
  if (count < 0) return make_error(Code::kInvalid, "count: is negative");
  out.count = static_cast<std::uint64_t>(count);
  return out;
}

}  // namespace

Flows parse_flows(const std::string& file, std::string_view text) {
  Flows out;
  for (std::size_t number = 1; !text.empty() && out.faults.size() < kMaxFaults; ++number) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    auto flow = parse_flow(line);
    if (!flow.ok()) {
      out.faults.push_back({{file, number}, "", "", flow.error().message});
      continue;
    }
    flow->at = {file, number};
    out.list.push_back(std::move(*flow));
  }
  return out;
}

namespace {

// Who a flow's ends are: names of workloads and pods, addresses of pods; any other address is the outside's.
class Names {
 public:
  Names(const Check& check, std::string ns) : check_(check), ns_(std::move(ns)), ends_(by_name(check)) {
    for (const End& end : check.ends()) {
      if (end.kind != End::Kind::kWorkload) continue;
      ends_.emplace(check.workload(end).id.to_string(), &end);
      for (const std::size_t pod : check.workload(end).pods) {
        const model::Pod& row = check.inventory().state.pods[pod];
        ends_.emplace(row.id.to_string(), &end);
      }
    }
  }
  const End* find(const std::string& name) {
    if (const auto addr = net::IpAddr::parse(name); addr.ok()) {
      if (const auto at = addresses_.find(*addr); at != addresses_.end()) return at->second;
      const auto ends = check_.ends_at(net::Prefix(*addr));
      const End* found = ends.ok() && !ends->empty() ? ends->front() : nullptr;
      return addresses_.emplace(*addr, found).first->second;
    }
    for (const auto& known : {name, ns_ + "/" + name})
      if (const auto at = ends_.find(known); at != ends_.end()) return at->second;
    return nullptr;
  }

 private:
  const Check& check_;
  std::string ns_;
  std::map<std::string, const End*> ends_;
  std::map<net::IpAddr, const End*> addresses_;  // that were asked for
};

PortSet as_set(const Port& port) { return PortSet::port(static_cast<net::Protocol>(port.protocol), port.number); }

// A connection between some of the pods that does not pass, if there is one.
std::optional<Connection> denied(const Check& check, const End& from, const End& to, const Port& port) {
  if (from.kind != End::Kind::kWorkload && to.kind != End::Kind::kWorkload) return std::nullopt;
  for (const PartyId source : from.parties)
    for (const PartyId destination : to.parties)
      if (check.parties()[source].addr.family() == check.parties()[destination].addr.family() &&
          (check.passing({&from, &to, source, destination, port}) & as_set(port)).empty())
        return Connection{&from, &to, source, destination, port};
  return std::nullopt;
}

}  // namespace

std::vector<Replayed> replay(const Check& before, const Check& after, const std::vector<Flow>& flows,
                             const std::string& default_namespace) {
  Names old_names(before, default_namespace), new_names(after, default_namespace);
  std::vector<Replayed> out;
  for (const Flow& flow : flows) {
    Replayed one{.flow = flow, .result = Replayed::Result::kPasses, .reason = ""};
    const End *old_from = old_names.find(flow.src), *old_to = old_names.find(flow.dst);
    const auto in_new = [&](const End* end, const std::string& name) {
      const End* same = end != nullptr && end->kind == End::Kind::kWorkload ? new_names.find(end->name) : nullptr;
      return same != nullptr ? same : new_names.find(name);
    };
    const End *from = in_new(old_from, flow.src), *to = in_new(old_to, flow.dst);
    if (from == nullptr || to == nullptr) {
      one.result = Replayed::Result::kUnknown;
      one.reason = "\"" + (from == nullptr ? flow.src : flow.dst) + "\" is nobody in the candidate";
    } else if (const auto connection = denied(after, *from, *to, flow.port)) {
      const bool before_too = old_from != nullptr && old_to != nullptr && denied(before, *old_from, *old_to, flow.port);
      one.result = before_too ? Replayed::Result::kDeniedBefore : Replayed::Result::kCut;
      one.reason = after.why(*connection).to_string();
    }
    out.push_back(std::move(one));
  }
  return out;
}

bj::object render_json(const Difference& difference, const std::vector<Finding>& errors, const std::vector<Replayed>& replayed) {
  bj::array changes, flows, findings;
  for (const Finding& finding : errors) findings.push_back(render_json(finding));
  for (const Change& change : difference.changes)
    changes.push_back(
        bj::object{{"from", change.from}, {"to", change.to}, {"opened", change.opened.to_string()}, {"closed", change.closed.to_string()}});
  for (const Replayed& one : replayed) flows.push_back(render(one));
  return {{"changes", std::move(changes)},
          {"added", bj::value_from(difference.added)},
          {"removed", bj::value_from(difference.removed)},
          {"findings", std::move(findings)},
          {"flows", std::move(flows)}};
}

}  // namespace fairway::policycheck
