#include "compile/services/assign.h"

#include <arpa/inet.h>

#include <algorithm>
#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "base/check.h"

namespace fairway::compile::services {
namespace {

constexpr std::uint32_t kNobody = UINT32_MAX;  // owner of what was adopted; end of a Service's list

struct BackendRecord {
  BackendKey key;
  std::uint32_t generation = 0;
  std::uint32_t slots = 0;     // frontends that have it in a slot
  std::uint32_t draining = 0;  // frontends that only let it drain
  bool used = false;
  bool reserved = false;  // adopted, but its address has another id: never given out by this process
};

struct FrontendRecord {
  fw_frontend_key key{};
  Run run;
  std::uint32_t count = 0;
  std::uint32_t flags = 0;
  std::uint32_t affinity_seconds = 0;
  std::uint32_t service_id = 0;  // fw_frontend.service
  std::uint32_t owner = kNobody;
  std::uint32_t next = kNobody;  // of the same owner
};

std::size_t hash_bytes(const void* data, std::size_t size) { return std::hash<std::string_view>{}({static_cast<const char*>(data), size}); }

fw_addr addr_to_abi(const net::IpAddr& addr) {
  fw_addr out;
  std::memcpy(out.bytes, addr.bytes().data(), sizeof(out.bytes));
  return out;
}

// Looks records up by key where the set itself holds only their numbers.
template <typename Record, typename Key, typename KeyOf>
class Index {
 public:
  Index(const std::vector<Record>& records) : set_(16, Hash{&records}, Equal{&records}) {}
  std::optional<std::uint32_t> find(const Key& key) const {
    const auto it = set_.find(key);
    return it == set_.end() ? std::nullopt : std::optional(*it);
  }
  void insert(std::uint32_t number) { set_.insert(number); }
  void erase(std::uint32_t number) { set_.erase(number); }
  std::size_t size() const { return set_.size(); }

 private:
  struct Hash {
    using is_transparent = void;
    const std::vector<Record>* records;
    std::size_t operator()(std::uint32_t number) const { return KeyOf::hash(KeyOf::key((*records)[number])); }
    std::size_t operator()(const Key& key) const { return KeyOf::hash(key); }
  };
  struct Equal {
    using is_transparent = void;
    const std::vector<Record>* records;
    const Key& key(std::uint32_t number) const { return KeyOf::key((*records)[number]); }
    const Key& key(const Key& k) const { return k; }
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return key(a) == key(b);
    }
  };
  boost::unordered_flat_set<std::uint32_t, Hash, Equal> set_;
};

struct BackendKeyOf {
  static const BackendKey& key(const BackendRecord& r) { return r.key; }
  static std::size_t hash(const BackendKey& k) {
    return hash_bytes(k.addr.bytes().data(), 16) ^
           (std::size_t{k.port} << 8 | static_cast<std::uint8_t>(k.protocol)) * 0x9e3779b97f4a7c15ULL;
  }
};
struct FrontendKeyOf {
  static const fw_frontend_key& key(const FrontendRecord& r) { return r.key; }
  static std::size_t hash(const fw_frontend_key& k) { return hash_bytes(&k, sizeof(k)); }
};

}  // namespace

fw_frontend_key to_abi(const FrontendKey& key) {
  fw_frontend_key out{};
  out.addr = addr_to_abi(key.addr);
  out.port_be = htons(key.port);
  out.protocol = static_cast<std::uint8_t>(key.protocol);
  out.scope = key.scope;
  return out;
}

FrontendKey from_abi(const fw_frontend_key& key) {
  return {net::IpAddr::from_bytes(std::span<const std::uint8_t, 16>(key.addr.bytes)), ntohs(key.port_be),
          static_cast<net::Protocol>(key.protocol), key.scope};
}

struct Assignment::Impl {
  Impl(std::uint32_t slots_size, std::uint32_t generation) : next_generation(generation), runs(slots_size) {
    backends.resize(1);  // id 0 is a hole
  }

  std::vector<BackendRecord> backends;  // by id
  Index<BackendRecord, BackendKey, BackendKeyOf> backend_ids{backends};
  std::vector<std::uint32_t> free_backends;
  bool free_unknown = false;  // the gaps between adopted ids are yet to be gathered
  std::uint32_t next_generation;

  std::vector<FrontendRecord> frontends;
  Index<FrontendRecord, fw_frontend_key, FrontendKeyOf> frontend_numbers{frontends};
  std::vector<std::uint32_t> free_frontends;
  std::vector<std::uint32_t> first_of;                                     // by Service: its first frontend
  std::unordered_map<std::uint32_t, std::vector<std::uint32_t>> draining;  // by frontend: backends; rare
  std::uint32_t next_service_id = 1;

  SlotRuns runs;
  std::vector<std::uint32_t> slots;  // the array as it should be: runs in use, up to their counts
  std::uint32_t slots_end = 0;       // beyond the last slot that was ever in use

  std::vector<std::uint32_t> cooling_backends[2];
  std::vector<Run> cooling_runs[2];

  fw_backend backend_row(std::uint32_t id) const {
    const BackendRecord& b = backends[id];
    fw_backend row{};
    row.addr = addr_to_abi(b.key.addr);
    row.port_be = htons(b.key.port);
    row.protocol = static_cast<std::uint8_t>(b.key.protocol);
    row.state = b.slots > 0 ? FW_BE_ACTIVE : FW_BE_TERMINATING;
    row.generation = b.generation;
    return row;
  }
  static fw_frontend frontend_row(const FrontendRecord& f) {
    fw_frontend row{};
    row.slot_base = f.run.base;
    row.count = f.count;
    row.flags = f.flags;
    row.service = f.service_id;
    row.affinity_seconds = f.affinity_seconds;
    return row;
  }
  void adopted() {  // before the first change
    if (!std::exchange(free_unknown, false)) return;
    for (auto id = static_cast<std::uint32_t>(backends.size() - 1); id > 0; --id)
      if (!backends[id].used && !backends[id].reserved) free_backends.push_back(id);
  }
  std::uint32_t take_backend_id() {
    if (free_backends.empty()) {
      backends.emplace_back();
      return static_cast<std::uint32_t>(backends.size() - 1);
    }
    const std::uint32_t id = free_backends.back();
    free_backends.pop_back();
    return id;
  }
  std::uint32_t backend_id(const BackendKey& key) {
    if (const auto known = backend_ids.find(key)) return *known;
    const std::uint32_t id = take_backend_id();
    backends[id] = {key, next_generation++, 0, 0, true, false};
    backend_ids.insert(id);
    return id;
  }
  std::uint32_t& first(std::uint32_t service) {
    if (service >= first_of.size()) first_of.resize(service + 1, kNobody);
    return first_of[service];
  }
  std::uint32_t slot(std::uint32_t index) const { return index < slots.size() ? slots[index] : 0; }
  void set_slot(std::uint32_t index, std::uint32_t id, Change& change) {
    if (slot(index) == id) return;
    if (index >= slots.size()) slots.resize(std::max<std::size_t>(index + 1, slots.size() + slots.size() / 4));
    slots[index] = id;
    slots_end = std::max(slots_end, index + 1);
    change.slots.emplace_back(index, id);
  }

  void forget_slots(std::uint32_t begin, std::uint32_t end) {
    for (std::uint32_t i = begin; i < end && i < slots.size(); ++i) slots[i] = 0;
  }

  // What a change touches among the backends: their rows are worked out at the end, from the counts before and after.
  struct Touched {
    std::unordered_map<std::uint32_t, std::optional<fw_backend>> before;  // nothing: a new one
  };
  void touch(Touched& touched, std::uint32_t id) {
    const BackendRecord& b = backends[id];
    touched.before.try_emplace(id, b.slots + b.draining > 0 ? std::optional(backend_row(id)) : std::nullopt);
  }
  void finish(const Touched& touched, Change& change) {
    std::vector<std::uint32_t> ids;
    for (const auto& [id, before] : touched.before) ids.push_back(id);
    std::sort(ids.begin(), ids.end());
    for (const std::uint32_t id : ids) {
      const auto& before = touched.before.at(id);
      if (backends[id].slots + backends[id].draining == 0) {
        backend_ids.erase(id);
        backends[id].used = false;
        change.backends_gone.push_back(id);
        continue;
      }
      const fw_backend row = backend_row(id);
      if (!before || before->state > row.state) change.backends.emplace_back(id, row);
      else if (before->state != row.state) change.backends_after.emplace_back(id, row);
    }
  }

  void place_slots(FrontendRecord& f, const std::vector<std::uint32_t>& wanted, Change& change, Touched& touched);
  void place_draining(std::uint32_t number, const std::vector<std::uint32_t>& wanted, Touched& touched);
  void drop_frontend(std::uint32_t number, Change& change, Touched& touched);
  void set_frontend(std::uint32_t number, const Frontend& wanted, Change& change, Touched& touched, std::optional<Run> room);
};

// Brings the frontend's slots even with `wanted` by the fewest writes: newcomers go into the holes of those that
// left, else to the end; holes that remain are filled from the end. `f.run` has room.
void Assignment::Impl::place_slots(FrontendRecord& f, const std::vector<std::uint32_t>& wanted, Change& change, Touched& touched) {
  std::vector<std::uint32_t> sorted = wanted;
  std::sort(sorted.begin(), sorted.end());
  std::vector<std::uint32_t> now(f.count);
  for (std::uint32_t i = 0; i < f.count; ++i) now[i] = slot(f.run.base + i);
  std::vector<std::uint32_t> have = now;
  std::sort(have.begin(), have.end());
  have.erase(std::unique(have.begin(), have.end()), have.end());
  std::vector<std::uint32_t> fresh, gone;
  std::set_difference(sorted.begin(), sorted.end(), have.begin(), have.end(), std::back_inserter(fresh));
  std::set_difference(have.begin(), have.end(), sorted.begin(), sorted.end(), std::back_inserter(gone));
  std::vector<std::uint32_t> next;
  std::vector<std::size_t> holes;
  std::unordered_set<std::uint32_t> seen;
  if (!gone.empty() || have.size() != now.size()) {
    for (std::uint32_t id : now) {
      const bool stays = !std::binary_search(gone.begin(), gone.end(), id) && seen.insert(id).second;
      if (!stays) holes.push_back(next.size());
      next.push_back(stays ? id : 0);
    }
  } else {
    next = now;
  }
  std::size_t used = 0;
  for (const std::uint32_t id : fresh) {
    if (used < holes.size()) next[holes[used++]] = id;
    else next.push_back(id);
  }
  for (std::size_t left = holes.size(); left > used;) {
    // The last hole that is still open: whatever lies behind it at the end moves in.
    const std::size_t hole = holes[--left];
    next[hole] = next.back();
    next.pop_back();
  }
  for (const std::uint32_t id : fresh) touch(touched, id), ++backends[id].slots;
  for (const std::uint32_t id : gone) {
    if (id == 0) continue;
    touch(touched, id);
    --backends[id].slots;
  }
  for (std::uint32_t i = 0; i < next.size(); ++i) set_slot(f.run.base + i, next[i], change);
  forget_slots(f.run.base + static_cast<std::uint32_t>(next.size()), f.run.base + f.count);
  f.count = static_cast<std::uint32_t>(next.size());
}

void Assignment::Impl::place_draining(std::uint32_t number, const std::vector<std::uint32_t>& wanted, Touched& touched) {
  const auto it = draining.find(number);
  if (it == draining.end() && wanted.empty()) return;
  for (const std::uint32_t id : wanted) touch(touched, id), ++backends[id].draining;
  if (it != draining.end())
    for (const std::uint32_t id : it->second) touch(touched, id), --backends[id].draining;
  if (wanted.empty()) draining.erase(number);
  else draining[number] = wanted;
}

void Assignment::Impl::drop_frontend(std::uint32_t number, Change& change, Touched& touched) {
  FrontendRecord& f = frontends[number];
  for (std::uint32_t i = 0; i < f.count; ++i) {
    const std::uint32_t id = slot(f.run.base + i);
    if (id == 0) continue;
    touch(touched, id);
    --backends[id].slots;
  }
  place_draining(number, {}, touched);
  if (f.run.capacity > 0) change.runs_gone.push_back(f.run);
  change.frontends_gone.push_back(f.key);
  frontend_numbers.erase(number);
  f = FrontendRecord{};
  free_frontends.push_back(number);
}

void Assignment::Impl::set_frontend(std::uint32_t number, const Frontend& wanted, Change& change, Touched& touched,
                                    std::optional<Run> room) {
  FrontendRecord& f = frontends[number];
  const fw_frontend before = frontend_row(f);
  const bool fresh = f.service_id == 0;
  if (fresh) f.service_id = next_service_id++;
  f.flags = wanted.flags;
  f.affinity_seconds = wanted.affinity_seconds;
  std::vector<std::uint32_t> ids, leaving;
  for (const auto& key : wanted.backends) ids.push_back(backend_id(key));
  for (const auto& key : wanted.draining) leaving.push_back(backend_id(key));
  for (const std::uint32_t id : ids) touch(touched, id);
  for (const std::uint32_t id : leaving) touch(touched, id);
  if (room) {
    // Moves to a larger run; the old one stays as it is for programs that still read it. What the new one was thought
    // to hold counts for nothing: that may never have been written.
    forget_slots(room->base, room->base + room->capacity);
    for (std::uint32_t i = 0; i < f.count; ++i) set_slot(room->base + i, slot(f.run.base + i), change);
    if (f.run.capacity > 0) change.runs_gone.push_back(f.run);
    f.run = *room;
  }
  place_slots(f, ids, change, touched);
  place_draining(number, leaving, touched);
  const fw_frontend after = frontend_row(f);
  if (fresh || std::memcmp(&before, &after, sizeof(after)) != 0) change.frontends.emplace_back(f.key, after);
}

Assignment::Assignment(std::uint32_t slots, std::uint32_t generation) : impl_(std::make_unique<Impl>(slots, generation)) {}
Assignment::~Assignment() = default;

bool Assignment::adopt_backend(std::uint32_t id, const fw_backend& row) {
  Impl& a = *impl_;
  const auto protocol = static_cast<net::Protocol>(row.protocol);
  const BackendKey key{net::IpAddr::from_bytes(std::span<const std::uint8_t, 16>(row.addr.bytes)), ntohs(row.port_be), protocol};
  if (id == 0 || id > (1U << 26)) return false;
  if (id >= a.backends.size()) a.backends.resize(id + 1);
  if (a.backends[id].used || a.backends[id].reserved) return false;
  a.free_unknown = true;
  // Known or not, the number is in use: a slot may still lead to it.
  a.backends[id].reserved = true;
  a.next_generation = std::max(a.next_generation, row.generation + 1);
  if (a.backend_ids.find(key)) return false;  // the address has another id by now; the removal of this one was not done
  a.backends[id] = {key, row.generation, 0, 0, true, false};
  a.backend_ids.insert(id);
  return true;
}

bool Assignment::adopt_frontend(const fw_frontend_key& key, const fw_frontend& row, const std::vector<std::uint32_t>& slots) {
  Impl& a = *impl_;
  if (slots.size() != row.count || a.frontend_numbers.find(key)) return false;
  FrontendRecord f;
  f.key = key;
  if (row.count > 0) {
    f.run = {row.slot_base, SlotRuns::capacity_for(row.count)};
    if (!a.runs.reserve(f.run)) return false;
  } else {
    f.run.base = row.slot_base;
  }
  f.count = row.count;
  f.flags = row.flags;
  f.affinity_seconds = row.affinity_seconds;
  f.service_id = row.service;
  a.next_service_id = std::max(a.next_service_id, row.service + 1);
  // An agent that died half-way may have left a backend twice, or a slot that leads nowhere: a hole here, so that the
  // first set() mends it.
  Change ignored;
  std::unordered_set<std::uint32_t> seen;
  for (std::uint32_t i = 0; i < f.count; ++i) {
    const bool good = slots[i] != 0 && slots[i] < a.backends.size() && a.backends[slots[i]].used && seen.insert(slots[i]).second;
    if (good) ++a.backends[slots[i]].slots;
    a.set_slot(f.run.base + i, good ? slots[i] : 0, ignored);
  }
  a.frontends.push_back(f);
  a.frontend_numbers.insert(static_cast<std::uint32_t>(a.frontends.size() - 1));
  return true;
}

Change Assignment::release_unclaimed() {
  Impl& a = *impl_;
  a.adopted();
  Change change;
  Impl::Touched touched;
  for (std::uint32_t number = 0; number < a.frontends.size(); ++number)
    if (a.frontends[number].service_id != 0 && a.frontends[number].owner == kNobody) a.drop_frontend(number, change, touched);
  for (std::uint32_t id = 1; id < a.backends.size(); ++id)  // adopted while they drained
    if (a.backends[id].used && a.backends[id].slots + a.backends[id].draining == 0) a.touch(touched, id);
  a.finish(touched, change);
  return change;
}

Result<Change> Assignment::set(std::uint32_t service, const std::vector<Frontend>& frontends) {
  Impl& a = *impl_;
  a.adopted();
  Change change;
  // First all that can fail: whose the frontends are, and room for the slots.
  struct Step {
    const Frontend* wanted;
    std::optional<std::uint32_t> number;
    std::optional<Run> room;
  };
  std::vector<Step> steps;
  std::vector<Run> taken;
  for (const Frontend& wanted : frontends) {
    Step step{&wanted, a.frontend_numbers.find(to_abi(wanted.key)), {}};
    if (step.number && a.frontends[*step.number].owner != kNobody && a.frontends[*step.number].owner != service) {
      change.problems.push_back({"spec.clusterIPs", wanted.key.to_string() + " belongs to another Service: refused"});
      continue;
    }
    const std::uint32_t capacity = step.number ? a.frontends[*step.number].run.capacity : 0;
    if (wanted.backends.size() > capacity) {
      step.room = wanted.backends.size() > (1U << 26) ? std::nullopt : a.runs.allocate(static_cast<std::uint32_t>(wanted.backends.size()));
      if (!step.room) {
        for (const Run& run : taken) a.runs.free(run);
        return make_error(Code::kExhausted,
                          "no run of " + std::to_string(wanted.backends.size()) + " slots is free for " + wanted.key.to_string());
      }
      taken.push_back(*step.room);
    }
    steps.push_back(step);
  }
  Impl::Touched touched;
  std::unordered_set<std::uint32_t> kept;
  for (Step& step : steps) {
    if (!step.number) {
      if (a.free_frontends.empty()) {
        a.frontends.emplace_back();
        step.number = static_cast<std::uint32_t>(a.frontends.size() - 1);
      } else {
        step.number = a.free_frontends.back();
        a.free_frontends.pop_back();
      }
      a.frontends[*step.number].key = to_abi(step.wanted->key);
      a.frontend_numbers.insert(*step.number);
    }
    FrontendRecord& f = a.frontends[*step.number];
    if (f.owner == kNobody) {
      f.owner = service;
      f.next = a.first(service);
      a.first(service) = *step.number;
    }
    kept.insert(*step.number);
    a.set_frontend(*step.number, *step.wanted, change, touched, step.room);
  }
  std::uint32_t list = kNobody;
  for (std::uint32_t number = a.first(service); number != kNobody;) {
    const std::uint32_t next = a.frontends[number].next;
    if (kept.contains(number)) {
      a.frontends[number].next = list;
      list = number;
    } else {
      a.drop_frontend(number, change, touched);
    }
    number = next;
  }
  a.first(service) = list;
  a.finish(touched, change);
  return change;
}

Change Assignment::rows_of(std::uint32_t service) const {
  const Impl& a = *impl_;
  Change change;
  std::unordered_set<std::uint32_t> seen;
  const auto add = [&](std::uint32_t id) {
    if (seen.insert(id).second) change.backends.emplace_back(id, a.backend_row(id));
  };
  for (std::uint32_t number = service < a.first_of.size() ? a.first_of[service] : kNobody; number != kNobody;
       number = a.frontends[number].next) {
    const FrontendRecord& f = a.frontends[number];
    for (std::uint32_t i = 0; i < f.count; ++i) {
      add(a.slot(f.run.base + i));
      change.slots.emplace_back(f.run.base + i, a.slot(f.run.base + i));
    }
    if (const auto it = a.draining.find(number); it != a.draining.end())
      for (const std::uint32_t id : it->second) add(id);
    change.frontends.emplace_back(f.key, Impl::frontend_row(f));
  }
  return change;
}

void Assignment::released(const Change& change) {
  Impl& a = *impl_;
  a.cooling_backends[0].insert(a.cooling_backends[0].end(), change.backends_gone.begin(), change.backends_gone.end());
  a.cooling_runs[0].insert(a.cooling_runs[0].end(), change.runs_gone.begin(), change.runs_gone.end());
}

void Assignment::cool_down() {
  Impl& a = *impl_;
  a.free_backends.insert(a.free_backends.end(), a.cooling_backends[1].begin(), a.cooling_backends[1].end());
  for (const Run& run : a.cooling_runs[1]) a.runs.free(run);
  a.cooling_backends[1] = std::move(a.cooling_backends[0]);
  a.cooling_runs[1] = std::move(a.cooling_runs[0]);
  a.cooling_backends[0].clear();
  a.cooling_runs[0].clear();
}

void Assignment::grow_slots(std::uint32_t slots) { impl_->runs.grow(slots); }
std::uint32_t Assignment::slots() const { return impl_->runs.size(); }
std::uint32_t Assignment::slots_used() const { return impl_->slots_end; }

bool Assignment::has_frontend(const fw_frontend_key& key) const { return impl_->frontend_numbers.find(key).has_value(); }
std::optional<fw_backend> Assignment::backend(std::uint32_t id) const {
  if (id >= impl_->backends.size() || !impl_->backends[id].used) return std::nullopt;
  return impl_->backend_row(id);
}

void Assignment::for_each_frontend(const std::function<void(const fw_frontend_key&, const fw_frontend&)>& visit) const {
  for (const auto& f : impl_->frontends)
    if (f.service_id != 0) visit(f.key, Impl::frontend_row(f));
}

void Assignment::for_each_slot(const std::function<void(std::uint32_t, std::uint32_t)>& visit) const {
  for (const auto& f : impl_->frontends)
    for (std::uint32_t i = 0; i < f.count; ++i) visit(f.run.base + i, impl_->slot(f.run.base + i));
}

void Assignment::for_each_backend(const std::function<void(std::uint32_t, const fw_backend&)>& visit) const {
  for (std::uint32_t id = 1; id < impl_->backends.size(); ++id)
    if (impl_->backends[id].used) visit(id, impl_->backend_row(id));
}

std::size_t Assignment::frontends() const { return impl_->frontend_numbers.size(); }
std::size_t Assignment::backends() const { return impl_->backend_ids.size(); }

std::optional<std::uint32_t> Assignment::owner(const fw_frontend_key& key) const {
  const auto number = impl_->frontend_numbers.find(key);
  if (!number || impl_->frontends[*number].owner == kNobody) return std::nullopt;
  return impl_->frontends[*number].owner;
}

}  // namespace fairway::compile::services
