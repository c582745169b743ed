#include "sinks/service_sink.h"

#include <algorithm>
#include <unordered_map>

#include "sinks/same.h"

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

// Only what comes after the writes: what is to be written follows from the assignment.
void append(compile::services::Change& to, compile::services::Change&& from) {
  const auto move_all = [](auto& a, auto& b) { a.insert(a.end(), b.begin(), b.end()); };
  move_all(to.frontends_gone, from.frontends_gone);
  move_all(to.backends_after, from.backends_after);
  move_all(to.backends_gone, from.backends_gone);
  move_all(to.runs_gone, from.runs_gone);
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

Status ServiceSink::remove_frontends(const std::vector<const Change*>& changes) {
  std::vector<fw_frontend_key> keys;
  for (const Change* change : changes)
    for (const auto& key : change->frontends_gone)
      if (!assignment_.has_frontend(key)) keys.push_back(key);  // else another Service has it by now
  if (keys.size() == 1) FW_TRY(maps_.frontends.remove(keys.front()));
  else if (!keys.empty()) FW_TRY(maps_.frontends.remove_batch(keys));
  // The row as it should be now: the change may be an old one, repeated.
  std::vector<std::uint32_t> ids;
  std::vector<fw_backend> rows;
  for (const Change* change : changes)
    for (const auto& [id, old] : change->backends_after)
      if (const auto row = assignment_.backend(id)) ids.push_back(id), rows.push_back(*row);
  return ids.empty() ? Status{} : maps_.backends.update_batch(ids, rows);
}

// The backends that rows in force lead to, of Services whose change has failed: read from the maps, as nothing else
// knows how far it came. Nothing: could not be read.
std::optional<std::set<std::uint32_t>> ServiceSink::stood_on() const {
  std::set<std::uint32_t> out;
  for (const auto& [service, failure] : failures_) {
    std::vector<fw_frontend_key> keys = failure.gone.frontends_gone;
    if (service != kNoService)
      for (const auto& [key, row] : assignment_.rows_of(service).frontends) keys.push_back(key);
    for (const auto& key : keys) {
      const auto row = maps_.frontends.lookup(key);
      if (!row.ok() && row.error().code == Code::kNotFound) continue;
      if (!row.ok()) return std::nullopt;
      for (std::uint32_t i = 0; i < row->count; ++i) {
        const auto id = maps_.slots.lookup(row->slot_base + i);
        if (!id.ok()) return std::nullopt;
        out.insert(*id);
      }
    }
  }
  return out;
}

void ServiceSink::remove_unused(reconcile::TimePoint now) {
  std::vector<std::uint32_t> free;
  std::swap(free, unused_.ids);
  if (!failures_.empty()) {
    const auto held = stood_on();
    const auto keeps = std::stable_partition(free.begin(), free.end(), [&](std::uint32_t id) { return held && !held->contains(id); });
    unused_.ids.assign(keeps, free.end());
    free.erase(keeps, free.end());
  }
  const Status removed = free.empty()       ? Status{}
                         : free.size() == 1 ? maps_.backends.remove(free.front())
                                            : maps_.backends.remove_batch(free);
  if (removed.ok()) {
    Change done;
    done.backends_gone = std::move(free);
    assignment_.released(done);
    unused_.error.reset();
    unused_.failures = 0;
  } else {
    unused_.ids.insert(unused_.ids.end(), free.begin(), free.end());
    unused_.error = removed.error();
  }
  if (!unused_.ids.empty()) unused_.due = now + reconcile::backoff(unused_.failures++);
}

// Changes whose frontends are as they should be: what they leave behind goes.
void ServiceSink::retire(const std::vector<const Change*>& done, reconcile::TimePoint now) {
  Change runs;
  for (const Change* change : done) {
    runs.runs_gone.insert(runs.runs_gone.end(), change->runs_gone.begin(), change->runs_gone.end());
    unused_.ids.insert(unused_.ids.end(), change->backends_gone.begin(), change->backends_gone.end());
  }
  assignment_.released(runs);
  if (!unused_.ids.empty()) remove_unused(now);
}

void ServiceSink::fail(std::uint32_t service, Change gone, Error error, reconcile::TimePoint now) {
  Failure& failure = failures_[service];
  failure.gone = std::move(gone);
  failure.error = std::move(error);
  failure.due = now + reconcile::backoff(failure.failures++);
}

// Only where nothing is owed from before: then each change stands on rows that are in force.
bool ServiceSink::apply_together(const std::vector<Unit>& units, reconcile::TimePoint now) {
  std::vector<const Change*> changes;
  changes.reserve(units.size());
  for (const auto& [service, change] : units) changes.push_back(&change);
  if (!write(changes).ok() || !remove_frontends(changes).ok()) return false;
  retire(changes, now);
  return true;
}

std::vector<std::uint32_t> ServiceSink::apply(std::vector<Unit> units, reconcile::TimePoint now) {
  std::vector<std::uint32_t> done;
  if (failures_.empty() && apply_together(units, now)) {
    for (const auto& [service, change] : units) done.push_back(service);
    return done;
  }
  // One by one, each with all its rows, whatever is in the maps already. First all writes, then all removals: a unit
  // that fails may still stand on what another gives up.
  std::vector<Unit> written;
  for (auto& [service, change] : units) {
    Change gone;
    const auto owed = failures_.find(service);
    if (owed != failures_.end()) append(gone, std::move(owed->second.gone));
    append(gone, std::move(change));
    const Change rows = service == kNoService ? Change{} : assignment_.rows_of(service);
    if (Status status = write({&rows}); !status.ok()) fail(service, std::move(gone), std::move(status).error(), now);
    else written.emplace_back(service, std::move(gone));
  }
  std::vector<const Change*> retired;
  for (auto& [service, gone] : written) {
    if (Status status = remove_frontends({&gone}); !status.ok()) {
      fail(service, std::move(gone), std::move(status).error(), now);
      continue;
    }
    failures_.erase(service);
    done.push_back(service);
    retired.push_back(&gone);
  }
  retire(retired, now);
  return done;
}

std::vector<std::uint32_t> ServiceSink::retry(reconcile::TimePoint now) {
  std::vector<Unit> due;
  for (const auto& [service, failure] : failures_)
    if (failure.due <= now) due.emplace_back(service, Change{});
  auto done = due.empty() ? std::vector<std::uint32_t>{} : apply(std::move(due), now);
  if (!unused_.ids.empty() && unused_.due <= now) remove_unused(now);
  return done;
}

std::optional<reconcile::TimePoint> ServiceSink::next_due() const {
  std::optional<reconcile::TimePoint> out;
  if (!unused_.ids.empty()) out = unused_.due;
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
      std::size_t operator()(const fw_frontend_key& k) const {
        return std::hash<std::string_view>{}({reinterpret_cast<const char*>(&k), sizeof(k)});
      }
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
  const std::size_t differing =
      change.backends.size() + change.slots.size() + change.frontends.size() + change.frontends_gone.size() + change.backends_gone.size();
  // Beside failed units only what is in excess goes, as its room may be what is missing; writing again is theirs.
  if (failures_.empty()) {
    FW_TRY(write({&change}));
  } else {
    const auto held = stood_on();
    std::erase_if(change.backends_gone, [&](std::uint32_t id) { return !held || held->contains(id); });
  }
  FW_TRY(remove_frontends({&change}));
  // Nothing to release: these ids are not the assignment's, or are on their way back to it.
  if (!change.backends_gone.empty()) FW_TRY(maps_.backends.remove_batch(change.backends_gone));
  return differing;
}

}  // namespace fairway::sinks
