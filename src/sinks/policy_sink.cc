#include "sinks/policy_sink.h"

#include <algorithm>
#include <cstring>

#include "datapath/addr.h"
#include "sinks/same.h"

namespace fairway::sinks {
namespace {

using compile::policy::Delta;
using compile::policy::Fallback;
using compile::policy::PeerClass;
using compile::policy::PortRange;
using compile::policy::SubjectRow;
using compile::policy::VerdictKey;
using compile::policy::VerdictRow;

// --- rows to the kernel's, a version of them

void set_version(fw_subject& row, unsigned bank, const std::optional<SubjectRow>& from) {
  fw_subject_version v{};
  if (from) {
    v.id = from->id;
    v.fallback[FW_POL_INGRESS] = static_cast<__u8>(from->ingress);
    v.fallback[FW_POL_EGRESS] = static_cast<__u8>(from->egress);
    v.rule[FW_POL_INGRESS] = from->ingress_rule;
    v.rule[FW_POL_EGRESS] = from->egress_rule;
  }
  row.v[bank] = v;
}

void set_version(fw_peer_class& row, unsigned bank, const std::optional<PeerClass>& from) { row.v[bank] = from.value_or(FW_PEER_ANY); }

void set_version(fw_verdict_row& row, unsigned bank, const std::optional<VerdictRow>& from) {
  row.verdict[bank] = from ? static_cast<__u8>(from->verdict) : __u8{FW_VERDICT_NONE};
  row.rule[bank] = from ? from->rule : 0;
}

std::uint32_t to_key(std::uint32_t ifindex) { return ifindex; }
fw_addr to_key(const net::IpAddr& addr) { return datapath::to_abi(addr); }
fw_cidr_key to_key(const net::Prefix& prefix) { return datapath::cidr_key(prefix); }
fw_verdict_key to_key(const VerdictKey& k) { return {k.subject, k.peer, k.port, static_cast<__u8>(k.direction), 0}; }

VerdictKey from_key(const fw_verdict_key& k) { return {k.subject, k.peer, k.port, static_cast<compile::policy::Direction>(k.direction)}; }

// The ports of a row of `pol_ports`, of no class.
PortRange whole_chunk(std::uint32_t index) {
  constexpr net::Protocol kProtocols[] = {net::Protocol::kTcp, net::Protocol::kUdp, net::Protocol::kSctp};
  const std::uint32_t first = index % FW_PORT_CHUNKS * FW_PORT_CHUNK;
  return {kProtocols[index / FW_PORT_CHUNKS % FW_PORT_PROTOCOLS], static_cast<std::uint16_t>(first),
          static_cast<std::uint16_t>(first + FW_PORT_CHUNK - 1), FW_PORT_NONE};
}

bool isolates(const std::optional<SubjectRow>& row) { return row && (row->ingress != Fallback::kOpen || row->egress != Fallback::kOpen); }

// --- the latest wins, per key

template <typename Key, typename Row>
void merge(std::vector<std::pair<Key, Row>>& into, std::vector<std::pair<Key, Row>>&& from) {
  if (into.empty()) {
    into = std::move(from);
    return;
  }
  into.insert(into.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
  std::stable_sort(into.begin(), into.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  // From the back, so that the last of equal keys is the first that unique() meets.
  const auto kept = std::unique(into.rbegin(), into.rend(), [](const auto& a, const auto& b) { return a.first == b.first; });
  into.erase(into.begin(), kept.base());
}

// Ranges may overlap: their order stays, and what a later one says again in full goes.
void merge(std::vector<PortRange>& into, std::vector<PortRange>&& from) {
  for (const PortRange& later : from)
    std::erase_if(into, [&](const PortRange& r) { return r.protocol == later.protocol && r.first >= later.first && r.last <= later.last; });
  into.insert(into.end(), from.begin(), from.end());
}

void merge(Delta& into, Delta&& from) {
  merge(into.subjects, std::move(from.subjects));
  merge(into.peers, std::move(from.peers));
  merge(into.cidrs, std::move(from.cidrs));
  merge(into.ports, std::move(from.ports));
  merge(into.verdicts, std::move(from.verdicts));
}

// The class of the next wider prefix: what a prefix holds in a bank that does not have it. `own` answers for one prefix.
template <typename Own>
PeerClass inherited(const net::Prefix& prefix, Own own) {
  for (unsigned length = prefix.length(); length-- > 0;)
    if (const std::optional<PeerClass> peer = own(net::Prefix(prefix.addr(), length))) return *peer;
  return FW_PEER_NONE;
}

template <typename K, typename V>
Status write(datapath::Map<K, V>& map, const std::vector<K>& keys, const std::vector<V>& values) {
  if (keys.empty()) return {};
  return keys.size() == 1 ? map.update(keys.front(), values.front()) : map.update_batch(keys, values);
}

template <typename K, typename V>
Status remove(datapath::Map<K, V>& map, const std::vector<K>& keys) {
  if (keys.empty()) return {};
  return keys.size() == 1 ? map.remove(keys.front()) : map.remove_batch(keys);
}

// The row as it is; nothing: there is none.
template <typename K, typename V>
Result<std::optional<V>> read(const datapath::Map<K, V>& map, const K& key, std::size_t rows) {
  if (rows == 0) return std::optional<V>();
  auto row = map.lookup(key);
  if (row.ok()) return std::optional<V>(*row);
  if (row.error().code == Code::kNotFound) return std::optional<V>();
  return std::move(row).error();
}

template <typename K, typename V>
Status fits(const datapath::Map<K, V>& map, std::size_t rows, std::size_t added) {
  if (added == 0 || rows + added <= map.capacity()) return {};
  return make_error(Code::kExhausted, "map " + std::string(map.name()) + ": this change needs " + std::to_string(rows + added) +
                                          " rows, and there is room for " + std::to_string(map.capacity()));
}

template <typename K, typename V, typename Key, typename Row, typename Out>
Status measure_rows(datapath::Map<K, V>& map, std::size_t rows, unsigned bank,
                    const std::vector<std::pair<Key, std::optional<Row>>>& changes, Out& out) {
  out = {};
  for (const auto& [from, row] : changes) {
    const K key = to_key(from);
    FW_ASSIGN(const std::optional<V> there, read(map, key, rows));
    if (!there && !row) continue;
    V fill = there ? *there : V{};
    set_version(fill, bank, row);
    V repeat{};
    set_version(repeat, 0, row);
    set_version(repeat, 1, row);
    if (!row) {
      out.gone.push_back(key);
      ++out.removed;
    } else if (there && same(*there, repeat)) {
      continue;
    } else {
      out.repeat_keys.push_back(key);
      out.repeat.push_back(repeat);
    }
    out.keys.push_back(key);
    out.fill.push_back(fill);
    out.added += !there;
  }
  return {};
}

// That which the rules in force do not have.
template <typename Subjects, typename Verdicts>
std::uint32_t other_turn(const Subjects& subjects, const Verdicts& verdicts, unsigned bank) {
  std::uint32_t any = 0;
  for (const auto& [ifindex, row] : subjects) any = std::max({any, row.v[bank].rule[0], row.v[bank].rule[1]});
  for (const auto& [key, row] : verdicts) any = std::max(any, row.rule[bank]);
  return any != 0 && (any & FW_RULE_TURN) == 0 ? FW_RULE_TURN : 0;
}

}  // namespace

PolicySink::PolicySink(datapath::PolicyTables& tables, PolicyHost& host, std::function<void()> wake)
    : tables_(tables), host_(host), wake_(std::move(wake)) {}

Result<bool> PolicySink::adopt() {
  FW_ASSIGN(const auto subjects, tables_.pol_subjects().dump());
  FW_ASSIGN(const auto peers, tables_.pol_peers().dump());
  FW_ASSIGN(const auto cidrs, tables_.pol_cidrs().dump());
  FW_ASSIGN(const auto verdicts, tables_.pol_verdicts().dump());
  FW_ASSIGN(const auto ports, tables_.pol_ports().dump());
  FW_ASSIGN(const auto tracked, host_.tracked());
  counts_ = {subjects.size(), peers.size(), cidrs.size(), verdicts.size()};
  if (!turn_) turn_ = other_turn(subjects, verdicts, tables_.policy_generation() & 1);
  tracked_ = {tracked.begin(), tracked.end()};
  const unsigned bank = tables_.policy_generation() & 1;
  step_ = {};
  own_.clear();
  cidr_rows_.clear();
  std::set<std::uint32_t> ifindexes = tracked_;
  for (const auto& [ifindex, row] : subjects) ifindexes.insert(ifindex);
  for (const std::uint32_t ifindex : ifindexes) step_.subjects.emplace_back(ifindex, std::nullopt);
  for (const auto& [addr, row] : peers) step_.peers.emplace_back(datapath::from_abi(addr), std::nullopt);
  for (const auto& [key, row] : cidrs) {
    step_.cidrs.emplace_back(datapath::prefix_of(key), std::nullopt);
    own_[datapath::prefix_of(key)] = row.v[bank];
    cidr_rows_.insert(datapath::prefix_of(key));
  }
  for (const auto& [key, row] : verdicts) step_.verdicts.emplace_back(from_key(key), std::nullopt);
  for (const auto& [index, row] : ports) step_.ports.push_back(whole_chunk(index));
  return tables_.policy_generation() != 0;
}

std::optional<compile::policy::RuleId> PolicySink::rule_of(std::uint32_t number) const {
  if (number == 0 || (number & FW_RULE_TURN) == turn_.value_or(0)) return number & ~FW_RULE_TURN;
  return std::nullopt;
}

void PolicySink::number_rules(Delta& delta) const {
  const auto number = [this](compile::policy::RuleId& id) {
    if (id != 0) id |= turn_.value_or(0);
  };
  for (auto& [ifindex, row] : delta.subjects)
    if (row) number(row->ingress_rule), number(row->egress_rule);
  for (auto& [key, row] : delta.verdicts)
    if (row) number(row->rule);
}

std::uint64_t PolicySink::add(Delta delta) {
  number_rules(delta);
  merge(next_, std::move(delta));
  if (phase_ == Phase::kIdle) due_ = {};  // what failed may do so no more
  return ++submitted_;
}

std::optional<PolicySink::TimePoint> PolicySink::next_due() const {
  if (waiting_ || (phase_ == Phase::kIdle && !error_ && submitted_ == taken_)) return std::nullopt;
  return due_;
}

Status PolicySink::fail(std::string_view table, Status status) {
  if (!status.ok()) failed_table_ = table;
  return status;
}

void PolicySink::run(TimePoint now) {
  if (waiting_ || now < due_) return;
  running_ = true;
  const Status status = advance();
  running_ = false;
  if (status.ok()) {
    if (phase_ == Phase::kTracking) return;  // not known yet
    failures_ = 0;
    due_ = {};
    error_.reset();
    return;
  }
  error_ = Failure{failed_table_, status.error()};
  due_ = now + reconcile::backoff(failures_++);
  // Before the flip everything is measured and filled again; after it only what is owed is repeated.
  if (phase_ != Phase::kRepeat) {
    phase_ = Phase::kIdle;
    retry_ = true;
  }
  recount_ = true;
}

Status PolicySink::advance() {
  for (;;) {
    switch (phase_) {
      case Phase::kIdle:
        if (submitted_ == taken_ && !retry_) return {};
        take();
        FW_TRY(measure());
        FW_TRY(begin_tracking());
        break;
      case Phase::kTracking:
        FW_TRY(fail("track", std::move(outcome_)));
        phase_ = Phase::kFill;
        break;
      case Phase::kFill:
        FW_TRY(fill());
        flip();
        break;
      case Phase::kReaders:
        phase_ = Phase::kRepeat;
        break;
      case Phase::kRepeat:
        FW_TRY(repeat());
        phase_ = Phase::kIdle;
        break;
    }
    if (waiting_) return {};
  }
}

Status PolicySink::count() {
  FW_ASSIGN(const auto subjects, tables_.pol_subjects().dump());
  FW_ASSIGN(const auto peers, tables_.pol_peers().dump());
  FW_ASSIGN(const auto cidrs, tables_.pol_cidrs().dump());
  FW_ASSIGN(const auto verdicts, tables_.pol_verdicts().dump());
  counts_ = {subjects.size(), peers.size(), cidrs.size(), verdicts.size()};
  cidr_rows_.clear();
  for (const auto& [key, row] : cidrs) cidr_rows_.insert(datapath::prefix_of(key));
  recount_ = false;
  return {};
}

void PolicySink::take() {
  merge(step_, std::move(next_));
  next_ = {};
  taken_ = submitted_;
}

Status PolicySink::measure() {
  if (recount_) FW_TRY(fail("maps", count()));
  const unsigned bank = idle_bank();
  FW_TRY(fail("pol_subjects", measure_rows(tables_.pol_subjects(), counts_.subjects, bank, step_.subjects, subjects_)));
  FW_TRY(fail("pol_peers", measure_rows(tables_.pol_peers(), counts_.peers, bank, step_.peers, peers_)));
  FW_TRY(fail("pol_verdicts", measure_rows(tables_.pol_verdicts(), counts_.verdicts, bank, step_.verdicts, verdicts_)));
  measure_cidrs(bank);
  return make_room();
}

Status PolicySink::make_room() {
  datapath::Room need;
  need.pol_peers = counts_.peers + peers_.added;
  need.pol_cidrs = counts_.cidrs + cidrs_.added;
  need.pol_verdicts = counts_.verdicts + verdicts_.added;
  const bool fit = need.pol_peers <= tables_.pol_peers().capacity() && need.pol_cidrs <= tables_.pol_cidrs().capacity() &&
                   need.pol_verdicts <= tables_.pol_verdicts().capacity();
  if (!fit) FW_TRY(fail("tables", host_.make_room(need)));
  FW_TRY(fail("pol_subjects", fits(tables_.pol_subjects(), counts_.subjects, subjects_.added)));
  FW_TRY(fail("pol_peers", fits(tables_.pol_peers(), counts_.peers, peers_.added)));
  FW_TRY(fail("pol_cidrs", fits(tables_.pol_cidrs(), counts_.cidrs, cidrs_.added)));
  return fail("pol_verdicts", fits(tables_.pol_verdicts(), counts_.verdicts, verdicts_.added));
}

std::optional<PeerClass> PolicySink::own(const net::Prefix& prefix) const {
  const auto it = own_.find(prefix);
  return it == own_.end() ? std::nullopt : std::optional(it->second);
}

std::optional<PeerClass> PolicySink::own_after(const net::Prefix& prefix) const {
  const auto it = own_changes_.find(prefix);
  return it == own_changes_.end() ? own(prefix) : it->second;
}

// What a row holds follows from the prefixes: the trie cannot be asked for one prefix alone, it answers with the longest that contains it.
void PolicySink::measure_cidrs(unsigned bank) {
  own_changes_ = {step_.cidrs.begin(), step_.cidrs.end()};
  cidrs_ = {};
  for (const auto& [prefix, row] : step_.cidrs) {
    const bool there = cidr_rows_.contains(prefix);
    if (!there && !row) continue;
    const fw_cidr_key key = to_key(prefix);
    const auto before = own(prefix);
    fw_peer_class fill{}, repeat{};
    fill.v[bank] = row ? *row : inherited(prefix, [this](const net::Prefix& p) { return own_after(p); });
    fill.v[bank ^ 1] = before ? *before : inherited(prefix, [this](const net::Prefix& p) { return own(p); });
    cidrs_.keys.push_back(key);
    cidrs_.fill.push_back(fill);
    cidrs_.added += !there;
    if (!row) {
      cidrs_.gone.push_back(key);
      ++cidrs_.removed;
      continue;
    }
    set_version(repeat, 0, row);
    set_version(repeat, 1, row);
    cidrs_.repeat_keys.push_back(key);
    cidrs_.repeat.push_back(repeat);
  }
}

Status PolicySink::begin_tracking() {
  phase_ = Phase::kTracking;
  outcome_ = Status{};
  std::vector<std::uint32_t> ifindexes;
  for (const auto& [ifindex, row] : step_.subjects)
    if (isolates(row) && !tracked_.contains(ifindex)) ifindexes.push_back(ifindex);
  if (ifindexes.empty()) return {};
  waiting_ = true;
  host_.begin_tracking(ifindexes, [this, ifindexes, alive = std::weak_ptr<int>(alive_)](Status status) {
    if (alive.expired()) return;
    waiting_ = false;
    if (status.ok()) tracked_.insert(ifindexes.begin(), ifindexes.end());
    outcome_ = std::move(status);
    if (!running_) wake_();
  });
  return {};
}

// In their order: a later range may overlap an earlier one.
Status PolicySink::write_ports(unsigned bank) {
  for (const PortRange& r : step_.ports) FW_TRY(tables_.set_port_classes(bank, r.protocol, r.first, r.last, r.port_class));
  return {};
}

Status PolicySink::fill() {
  FW_TRY(fail("pol_ports", write_ports(idle_bank())));
  FW_TRY(fail("pol_verdicts", write(tables_.pol_verdicts(), verdicts_.keys, verdicts_.fill)));
  FW_TRY(fail("pol_cidrs", write(tables_.pol_cidrs(), cidrs_.keys, cidrs_.fill)));
  FW_TRY(fail("pol_peers", write(tables_.pol_peers(), peers_.keys, peers_.fill)));
  FW_TRY(fail("pol_subjects", write(tables_.pol_subjects(), subjects_.keys, subjects_.fill)));
  for (const fw_cidr_key& key : cidrs_.keys) cidr_rows_.insert(datapath::prefix_of(key));
  counts_.subjects += subjects_.added;
  counts_.peers += peers_.added;
  counts_.cidrs += cidrs_.added;
  counts_.verdicts += verdicts_.added;
  return {};
}

void PolicySink::flip() {
  std::uint32_t next = tables_.policy_generation() + 1;
  if (next == 0) next = 2;  // 0 judges nothing; the bank is the same
  tables_.set_policy_generation(next);
  ++flips_;
  for (const auto& [prefix, peer] : own_changes_) {
    if (peer) own_[prefix] = *peer;
    else own_.erase(prefix);
  }
  in_force_ = taken_;
  retry_ = false;
  phase_ = Phase::kReaders;
  waiting_ = true;
  host_.wait_for_readers([this, alive = std::weak_ptr<int>(alive_)] {
    if (alive.expired()) return;
    waiting_ = false;
    if (!running_) wake_();
  });
}

Status PolicySink::repeat() {
  FW_TRY(fail("pol_ports", write_ports(idle_bank())));
  FW_TRY(fail("pol_subjects", write(tables_.pol_subjects(), subjects_.repeat_keys, subjects_.repeat)));
  FW_TRY(fail("pol_peers", write(tables_.pol_peers(), peers_.repeat_keys, peers_.repeat)));
  FW_TRY(fail("pol_cidrs", write(tables_.pol_cidrs(), cidrs_.repeat_keys, cidrs_.repeat)));
  FW_TRY(fail("pol_verdicts", write(tables_.pol_verdicts(), verdicts_.repeat_keys, verdicts_.repeat)));
  for (const auto& [ifindex, row] : step_.subjects) {
    if (isolates(row) || !tracked_.contains(ifindex)) continue;
    Status ended = tables_.set_tracked(ifindex, false);
    if (!ended.ok() && ended.error().code != Code::kNotFound) return fail("track", std::move(ended));
    tracked_.erase(ifindex);
  }
  FW_TRY(fail("pol_subjects", remove(tables_.pol_subjects(), subjects_.gone)));
  FW_TRY(fail("pol_peers", remove(tables_.pol_peers(), peers_.gone)));
  FW_TRY(fail("pol_cidrs", remove(tables_.pol_cidrs(), cidrs_.gone)));
  FW_TRY(fail("pol_verdicts", remove(tables_.pol_verdicts(), verdicts_.gone)));
  for (const fw_cidr_key& key : cidrs_.gone) cidr_rows_.erase(datapath::prefix_of(key));
  counts_.subjects -= subjects_.removed;
  counts_.peers -= peers_.removed;
  counts_.cidrs -= cidrs_.removed;
  counts_.verdicts -= verdicts_.removed;
  step_ = {};
  return {};
}

}  // namespace fairway::sinks
