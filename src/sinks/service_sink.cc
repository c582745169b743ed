#include "sinks/service_sink.h"

#include <cstring>
#include <set>
#include <unordered_map>

namespace fairway::sinks {
namespace {

// The rows of many changes, in order, as the two arrays that a batch call takes.
template <typename K, typename V, typename Field>
Status write_all(datapath::Map<K, V>& map, const std::vector<const compile::services::Change*>& changes, Field field) {
  std::size_t count = 0;
  for (const auto* change : changes) count += (change->*field).size();
  if (count == 0) return {};
  if (count == 1) {
    for (const auto* change : changes)
      for (const auto& [key, value] : change->*field) return map.update(key, value);
  }
  std::vector<K> keys;
  std::vector<V> values;
  keys.reserve(count);
  values.reserve(count);
  for (const auto* change : changes)
    for (const auto& [key, value] : change->*field) {
      keys.push_back(key);
      values.push_back(value);
    }
  return map.update_batch(keys, values);
}

template <typename T>
bool same(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

void append(compile::services::Change& to, compile::services::Change&& from) {
  const auto move_all = [](auto& a, auto& b) { a.insert(a.end(), b.begin(), b.end()); };
  move_all(to.frontends_gone, from.frontends_gone);
  move_all(to.backends_gone, from.backends_gone);
  move_all(to.runs_gone, from.runs_gone);
}

// The part of a change that is not writes of present rows.
compile::services::Change gone_of(compile::services::Change&& change) {
  compile::services::Change out;
  append(out, std::move(change));
  return out;
}

}  // namespace

Result<std::size_t> ServiceSink::adopt() {
  FW_ASSIGN(const auto backends, maps_.backends.dump());
  FW_ASSIGN(const auto slots, maps_.slots.dump());
  FW_ASSIGN(const auto frontends, maps_.frontends.dump());
  std::size_t unfit = 0;
  for (const auto& [id, row] : backends) unfit += !assignment_.adopt_backend(id, row);
  std::unordered_map<std::uint32_t, std::uint32_t> slot(slots.begin(), slots.end());
  for (const auto& [key, row] : frontends) {
    std::vector<std::uint32_t> ids;
    for (std::uint32_t i = 0; i < row.count && i < maps_.slots.capacity(); ++i) {
      const auto it = slot.find(row.slot_base + i);
      ids.push_back(it == slot.end() ? 0 : it->second);
    }
    unfit += !assignment_.adopt_frontend(key, row, ids);
  }
  return unfit;
}

Status ServiceSink::write(const std::vector<const Change*>& changes) {
  FW_TRY(write_all(maps_.backends, changes, &Change::backends));
  FW_TRY(write_all(maps_.slots, changes, &Change::slots));
  return write_all(maps_.frontends, changes, &Change::frontends);
}

Status ServiceSink::remove(const std::vector<const Change*>& changes) {
  std::vector<fw_frontend_key> frontends;
  std::vector<std::uint32_t> backends;
  for (const Change* change : changes) {
    for (const auto& key : change->frontends_gone)
      if (!assignment_.has_frontend(key)) frontends.push_back(key);  // else another Service has it by now
    for (const std::uint32_t id : change->backends_gone) backends.push_back(id);
  }
  if (frontends.size() == 1) FW_TRY(maps_.frontends.remove(frontends.front()));
  else if (!frontends.empty()) FW_TRY(maps_.frontends.remove_batch(frontends));
  FW_TRY(write_all(maps_.backends, changes, &Change::backends_after));
  if (backends.size() == 1) return maps_.backends.remove(backends.front());
  return backends.empty() ? Status{} : maps_.backends.remove_batch(backends);
}

// All rows of the Service, whatever is in the maps already, and the removals that are owed.
Status ServiceSink::apply_one(std::uint32_t service, const Change& gone) {
  const Change rows = service == kNoService ? Change{} : assignment_.rows_of(service);
  FW_TRY(write({&rows}));
  return remove({&gone});
}

void ServiceSink::fail(std::uint32_t service, Change gone, Error error, reconcile::TimePoint now) {
  Failure& failure = failures_[service];
  failure.gone = std::move(gone);
  failure.error = std::move(error);
  failure.due = now + reconcile::backoff(failure.failures++);
}

std::vector<std::uint32_t> ServiceSink::apply(std::vector<Unit> units, reconcile::TimePoint now) {
  std::vector<std::uint32_t> done;
  // All together, where nothing is owed from before: then each change stands on rows that are in force.
  if (failures_.empty()) {
    std::vector<const Change*> changes;
    changes.reserve(units.size());
    for (const auto& [service, change] : units) changes.push_back(&change);
    if (write(changes).ok() && remove(changes).ok()) {
      for (const auto& [service, change] : units) {
        assignment_.released(change);
        done.push_back(service);
      }
      return done;
    }
  }
  for (auto& [service, change] : units) {
    Change gone = gone_of(std::move(change));
    if (const auto it = failures_.find(service); it != failures_.end()) {
      Change owed = std::move(it->second.gone);
      append(owed, std::move(gone));
      gone = std::move(owed);
    }
    const Status status = apply_one(service, gone);
    if (!status.ok()) {
      fail(service, std::move(gone), status.error(), now);
      continue;
    }
    assignment_.released(gone);
    failures_.erase(service);
    done.push_back(service);
  }
  return done;
}

std::vector<std::uint32_t> ServiceSink::retry(reconcile::TimePoint now) {
  std::vector<Unit> due;
  for (const auto& [service, failure] : failures_)
    if (failure.due <= now) due.emplace_back(service, Change{});
  return due.empty() ? std::vector<std::uint32_t>{} : apply(std::move(due), now);
}

std::optional<reconcile::TimePoint> ServiceSink::next_due() const {
  std::optional<reconcile::TimePoint> out;
  for (const auto& [service, failure] : failures_)
    if (!out || failure.due < *out) out = failure.due;
  return out;
}

Result<std::size_t> ServiceSink::resync() {
  Change change;
  {
    FW_ASSIGN(const auto dump, maps_.backends.dump());
    std::unordered_map<std::uint32_t, fw_backend> there(dump.begin(), dump.end());
    assignment_.for_each_backend([&](std::uint32_t id, const fw_backend& row) {
      const auto it = there.find(id);
      if (it == there.end() || !same(it->second, row)) change.backends.emplace_back(id, row);
      if (it != there.end()) there.erase(it);
    });
    for (const auto& [id, row] : there) change.backends_gone.push_back(id);
  }
  {
    FW_ASSIGN(const auto dump, maps_.slots.dump());
    std::unordered_map<std::uint32_t, std::uint32_t> there(dump.begin(), dump.end());
    assignment_.for_each_slot([&](std::uint32_t index, std::uint32_t id) {
      const auto it = there.find(index);
      if (it == there.end() || it->second != id) change.slots.emplace_back(index, id);
    });
  }
  {
    FW_ASSIGN(const auto dump, maps_.frontends.dump());
    struct Hash {
      std::size_t operator()(const fw_frontend_key& k) const { return std::hash<std::string_view>{}({reinterpret_cast<const char*>(&k), sizeof(k)}); }
    };
    struct Equal {
      bool operator()(const fw_frontend_key& a, const fw_frontend_key& b) const { return same(a, b); }
    };
    std::unordered_map<fw_frontend_key, fw_frontend, Hash, Equal> there(dump.begin(), dump.end());
    assignment_.for_each_frontend([&](const fw_frontend_key& key, const fw_frontend& row) {
      const auto it = there.find(key);
      if (it == there.end() || !same(it->second, row)) change.frontends.emplace_back(key, row);
      if (it != there.end()) there.erase(it);
    });
    for (const auto& [key, row] : there) change.frontends_gone.push_back(key);
  }
  const std::size_t differing = change.backends.size() + change.slots.size() + change.frontends.size() +
                                change.frontends_gone.size() + change.backends_gone.size();
  if (failures_.empty()) {
    FW_TRY(write({&change}));
  } else {
    // What a failed unit still stands on is owed by that unit. All else that is in excess goes, as its room may be
    // what is missing; writing again is the failed units' own affair.
    std::set<std::uint32_t> owed;
    for (const auto& [service, failure] : failures_) owed.insert(failure.gone.backends_gone.begin(), failure.gone.backends_gone.end());
    std::erase_if(change.backends_gone, [&](std::uint32_t id) { return owed.contains(id); });
    change.frontends.clear(), change.slots.clear(), change.backends.clear();
  }
  FW_TRY(remove({&change}));  // nothing to release: these ids are not the assignment's, or cool down there
  return differing;
}

}  // namespace fairway::sinks
