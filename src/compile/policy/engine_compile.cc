// The steps from what was marked to a Delta.
#include "compile/policy/engine_impl.h"

namespace fairway::compile::policy {

using Kind = Predicate::Kind;

Delta Engine::Impl::compile() {
  assign_subjects();
  ask_predicates();
  install_predicates();
  settle_truth();
  settle_programs();
  settle_classes();
  settle_rows();
  settle_locals();
  Delta out = std::exchange(delta, {});
  out.overflow = ports.full();
  selectors.tick(), blocks.tick(), predicates.tick();
  if (!out.empty()) ports.tick(), classes.tick(), subject_keys.tick();
  return out;
}

bool Engine::Impl::selected_by(SubjectId subject, SelectorId selector) const {
  if (!subject_keys.alive(subject)) return false;
  const auto& key = subject_keys[subject];
  const std::size_t selectors_in_key = key.size() >= 2 && key[key.size() - 2] == kPortsFollow ? key.size() - 2 : key.size();
  return std::binary_search(key.begin(), key.begin() + static_cast<std::ptrdiff_t>(selectors_in_key), selector);
}
bool Engine::Impl::has_range(SubjectId subject, RangeId range) const {
  return subject_keys.alive(subject) && std::binary_search(subjects[subject].ranges.begin(), subjects[subject].ranges.end(), range);
}
bool Engine::Impl::uses(SubjectId subject, PredicateId predicate) const {
  return subject_keys.alive(subject) && std::binary_search(subjects[subject].uses.begin(), subjects[subject].uses.end(), predicate);
}
bool Engine::Impl::has_truth(PeerClass peer_class, PredicateId predicate) const {
  return classes.alive(peer_class) && std::binary_search(classes[peer_class].begin(), classes[peer_class].end(), predicate);
}
void Engine::Impl::dirty_subject(SubjectId id, SubjectState::Dirt dirt) {
  auto& now = subjects[id].dirt;
  if (now == SubjectState::kClean) dirty_subjects.push_back(id);
  now = std::max(now, dirt);
}
void Engine::Impl::dirty_users(PredicateId id) {
  for (const SubjectId s : predicate_rows[id].users.maybe())
    if (uses(s, id)) dirty_subject(s, SubjectState::kRules);
}

// --- subjects of groups with local pods

std::vector<std::uint32_t> Engine::Impl::subject_key(GroupId group) const {
  std::vector<std::uint32_t> key = subject_selectors.truth(group);
  const bool asks = std::any_of(key.begin(), key.end(), [this](SelectorId s) { return selector_rows[s].ask_port_names > 0; });
  if (asks) key.push_back(kPortsFollow), key.push_back(selectors.group(group).ports);
  return key;
}

void Engine::Impl::give_subject(GroupId group, SubjectId subject) {
  auto& row = groups[group];
  if (row.subject != 0) {
    const SubjectId old = row.subject;
    row.subject = 0;
    subjects[old].groups.removed([&](GroupId g) { return groups[g].subject == old; });
    doomed_subjects.push_back(old);
  }
  row.subject = subject;
  if (subject != 0) subjects[subject].groups.add(group);
  for (const auto ifindex : row.locals) mark_local(ifindex);
}

void Engine::Impl::assign_subjects() {
  for (const GroupId g : subject_selectors.take_changed()) {
    auto key = subject_key(g);
    SubjectId id = 0;
    if (!key.empty()) {
      bool fresh = false;
      std::tie(id, fresh) = subject_keys.acquire(std::move(key));
      if (fresh) {
        at(subjects, id) = {};
        for (const std::uint32_t s : subject_keys[id]) {
          if (s == kPortsFollow) break;
          selector_rows[s].subjects.add(id);
        }
        dirty_subject(id, SubjectState::kRules);
      }
      if (id == groups[g].subject) {
        subject_keys.release(id);
        continue;
      }
    }
    give_subject(g, id);
  }
  for (const GroupId g : orphaned_groups)
    if (groups[g].locals.empty() && groups[g].subject != 0) give_subject(g, 0);
}

void Engine::Impl::drop_subject(SubjectId id) {
  auto& subject = subjects[id];
  const auto key = subject_keys[id];
  tell_rows(id, subject.rows.data(), subject.rows.data() + subject.rows.size(), nullptr, nullptr);
  for (const std::uint32_t s : key) {
    if (s == kPortsFollow) break;
    selector_rows[s].subjects.removed([&](SubjectId other) { return selected_by(other, s); });
  }
  for (const PredicateId p : subject.uses) predicate_rows[p].users.removed([&](SubjectId other) { return uses(other, p); });
  for (const PredicateId p : subject.asked) release(p);
  for (const RuleId r : subject.rules) rules.release(r);
  release_ranges(subject.ranges);
  subject = {};
}

// --- predicates that rules in force ask for

PredicateId Engine::Impl::acquire(const Predicate& predicate) {
  const auto [id, fresh] = predicates.acquire(predicate);
  if (!fresh) return id;
  at(predicate_rows, id) = {};
  changed_predicates.push_back(id);
  if (predicate.kind == Kind::kBlock) blocks.hold(predicate.of);
  else if (predicate.kind == Kind::kNodes) selectors.hold_selector(predicate.of);
  else selectors.hold(predicate.of);
  return id;
}
void Engine::Impl::release(PredicateId id) {
  if (predicates.release(id)) changed_predicates.push_back(id);
}

void Engine::Impl::ask_predicates() {
  std::vector<PredicateId> doomed;
  for (const SubjectId s : dirty_subjects) {
    if (!subject_keys.alive(s) || subjects[s].dirt != SubjectState::kRules) continue;
    std::vector<PredicateId> asked;
    for (const Predicate& p : asked_by(s)) asked.push_back(acquire(p));
    std::sort(asked.begin(), asked.end());
    std::swap(asked, subjects[s].asked);
    doomed.insert(doomed.end(), asked.begin(), asked.end());
  }
  // A subject goes when its last group has left it: those that new groups came to meanwhile stay.
  std::vector<SubjectId> gone;
  for (const SubjectId s : std::exchange(doomed_subjects, {}))
    if (subject_keys.release(s)) gone.push_back(s);
  doomed_subjects = std::move(gone);
  for (const PredicateId p : doomed) release(p);
}

// A denied pod that is not known yet has an address of the pod range that nobody has: there the predicate holds as if the range were
// its block. Addresses that somebody has then need rows of their own, also those of which no predicate holds.
void Engine::Impl::install_unknown(PredicateId id, bool here) {
  for (const auto& range : pod_ranges) {
    if (here) block_tree.add(id, {range, {}});
    else block_tree.remove(id, {range, {}});
  }
  const bool had = unknown_matches > 0;
  unknown_matches += here ? 1 : -1;
  if (had == (unknown_matches > 0)) return;
  for (const auto& [addr, row] : addresses) mark(addr);
}

void Engine::Impl::install(PredicateId id, bool here) {
  const Predicate& p = predicates[id];
  predicate_rows[id].installed = here;
  if (p.kind == Kind::kPods) {
    auto& row = at(selector_rows, p.of);
    const bool other = row.predicate[p.any ? 0 : 1] != 0, mine = row.predicate[p.any ? 1 : 0] != 0;
    row.predicate[p.any ? 1 : 0] = here ? id : 0;
    if (here && !other && !mine) peer_selectors.add_selector(p.of);
    else if (!here && !other) peer_selectors.remove_selector(p.of);
    else peer_selectors.touch(p.of);
    if (p.any) install_unknown(id, here);
    if (!here) selectors.release(p.of);
  } else if (p.kind == Kind::kBlock) {
    if (here) block_tree.add(id, blocks[p.of]);
    else block_tree.remove(id, blocks[p.of]);
    if (!here) blocks.release(p.of);
  } else if (p.kind == Kind::kNodes) {
    if (here) node_predicates.push_back(id);
    else std::erase(node_predicates, id);
    for (auto& node : nodes)
      if (node.labels != 0) set_node_truth(node);
    if (!here) selectors.release_selector(p.of);
  } else {
    auto& numbers = at(selector_rows, p.of).numbers[p.any ? 1 : 0];
    if (here) numbers.push_back(id);
    else std::erase(numbers, id);
    if (const PredicateId whole = selector_rows[p.of].predicate[p.any ? 1 : 0]; whole != 0) dirty_users(whole);
    if (!here) selectors.release(p.of);
  }
}

void Engine::Impl::install_predicates() {
  for (const PredicateId p : std::exchange(changed_predicates, {})) {
    const bool here = predicates.alive(p);
    if (here != predicate_rows[p].installed) install(p, here);
  }
}

// --- the truth of groups

std::vector<PredicateId> Engine::Impl::truth_of(GroupId group) {
  std::vector<PredicateId> out;
  if (!selectors.group_alive(group)) return out;
  for (const SelectorId s : peer_selectors.truth(group)) {
    for (const bool any : {false, true}) {
      const PredicateId whole = selector_rows[s].predicate[any ? 1 : 0];
      if (whole == 0) continue;
      if (selectors[s].port_name == 0) {
        out.push_back(whole);
        continue;
      }
      for (const NamedPort p : selectors.ports(selectors.group(group).ports))
        if (selectors[s].has_port(p)) out.push_back(acquire({Kind::kPort, any, s, static_cast<std::uint32_t>(p)}));
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

void Engine::Impl::settle_truth() {
  std::vector<PredicateId> doomed;
  const auto update = [&](GroupId g) {
    auto truth = truth_of(g);
    auto& row = groups[g];
    if (truth != row.truth)
      for (const auto pod : row.pods)
        for (const auto& ip : pods[pod].ips) mark(ip);
    std::swap(truth, row.truth);
    for (const PredicateId p : truth)
      if (predicates[p].kind == Kind::kPort) doomed.push_back(p);
  };
  for (const GroupId g : peer_selectors.take_changed()) update(g);
  for (const GroupId g : std::exchange(orphaned_groups, {}))
    if (!selectors.group_alive(g)) update(g);
  for (const PredicateId p : doomed) release(p);
  install_predicates();
}

// --- programs and ports

void Engine::Impl::settle_programs() {
  for (const SubjectId s : dirty_subjects)
    if (subject_keys.alive(s) && subjects[s].dirt == SubjectState::kRules) build_program(s);
  for (const SubjectId s : std::exchange(doomed_subjects, {})) drop_subject(s);
  install_predicates();
  settle_truth();
  std::vector<RangeId> moved;
  ports.settle(delta.ports, moved);
  for (const RangeId r : moved)
    for (const SubjectId s : ports.users(r).maybe())
      if (has_range(s, r)) dirty_subject(s, SubjectState::kPorts);
  for (const SubjectId s : dirty_subjects) {
    if (!subject_keys.alive(s)) continue;
    for (auto& program : subjects[s].program) program.expand(ports);
  }
}

// --- classes of prefixes and addresses

PeerClass Engine::Impl::acquire_class(std::vector<PredicateId> truth) {
  if (truth.empty()) return kNoClass;
  const auto [id, fresh] = classes.acquire(std::move(truth));
  if (fresh) {
    for (const PredicateId p : classes[id]) predicate_rows[p].classes.add(id);
    changed_classes.push_back(id);
  }
  return id;
}
void Engine::Impl::release_class(PeerClass id) {
  if (id == 0 || id == kNoClass || !classes.release(id)) return;
  for (const PredicateId p : classes[id]) predicate_rows[p].classes.removed([&](PeerClass c) { return has_truth(c, p); });
  changed_classes.push_back(id);
}

void Engine::Impl::settle_classes() {
  block_tree.settle(
      [this](const net::Prefix& prefix, BlockTree::Cut& cut) {
        const PeerClass now = acquire_class(cut.members);
        doomed_classes.push_back(cut.value);
        if (now != cut.value) delta.cidrs.emplace_back(prefix, now);
        cut.value = now;
      },
      [this](const net::Prefix& prefix, const BlockTree::Cut& cut) {
        doomed_classes.push_back(cut.value);
        if (cut.value != 0) delta.cidrs.emplace_back(prefix, std::nullopt);
      });
  for (const auto& [first, last] : block_tree.touched())
    for (auto at = named.lower_bound(first); at != named.end() && *at <= last; ++at) mark(*at);
  settle_addresses();
  for (const PeerClass c : std::exchange(doomed_classes, {})) release_class(c);
}

template <typename Owners, typename TruthOf>
void Engine::Impl::append_owned(const Owners& owners, TruthOf truth_of, std::vector<PredicateId>& out) const {
  if (owners.size() == 1) {
    const auto& truth = truth_of(owners[0]);
    out.insert(out.end(), truth.begin(), truth.end());
    return;
  }
  std::vector<PredicateId> seen;
  for (const auto owner : owners) seen.insert(seen.end(), truth_of(owner).begin(), truth_of(owner).end());
  std::sort(seen.begin(), seen.end());
  for (auto at = seen.begin(); at != seen.end();) {
    const auto end = std::upper_bound(at, seen.end(), *at);
    if (predicates[*at].any || static_cast<std::size_t>(end - at) == owners.size()) out.push_back(*at);
    at = end;
  }
}

// Nothing: as the prefixes say.
std::optional<std::vector<PredicateId>> Engine::Impl::class_truth(const AddressRow& row, const net::IpAddr& addr) const {
  if (row.pods.empty() && row.nodes.empty()) return std::nullopt;
  std::vector<PredicateId> out, blocks_here;
  bool nobodys = false;  // the prefix says something of pods that are not known, too
  append_owned(
      row.pods, [this](std::uint32_t pod) -> const auto& { return groups[pods[pod].group].truth; }, out);
  append_owned(
      row.nodes, [this](std::uint32_t node) -> const auto& { return nodes[node].truth; }, out);
  if (const auto* cut = block_tree.find(addr))
    for (const PredicateId p : cut->members) {
      if (predicates[p].kind == Kind::kBlock) blocks_here.push_back(p);
      else nobodys = true;
    }
  if (out.empty() && !nobodys) return std::nullopt;
  out.insert(out.end(), blocks_here.begin(), blocks_here.end());
  std::sort(out.begin(), out.end());
  return out;
}

void Engine::Impl::settle_addresses() {
  for (const auto& addr : std::exchange(dirty_addresses, {})) {
    const auto at = addresses.find(addr);
    auto& row = at->second;
    row.dirty = false;
    auto truth = class_truth(row, addr);
    const PeerClass now = truth ? acquire_class(std::move(*truth)) : 0;
    doomed_classes.push_back(row.told);
    if (now != row.told) {
      delta.peers.emplace_back(addr, now == 0 ? std::nullopt : std::optional(now));
      if (row.told == 0) named.insert(addr);
      if (now == 0) named.erase(addr);
      row.told = now;
    }
    if (row.pods.empty() && row.nodes.empty()) addresses.erase(at);
  }
}

// --- verdict rows

void Engine::Impl::tell_rows(SubjectId id, const SubjectVerdict* old_at, const SubjectVerdict* old_end, const SubjectVerdict* new_at,
                             const SubjectVerdict* new_end) {
  const auto key = [id](const SubjectVerdict& r) { return VerdictKey{id, r.peer, r.port, r.direction}; };
  while (old_at != old_end || new_at != new_end) {
    const bool gone = new_at == new_end || (old_at != old_end && old_at->place() < new_at->place());
    const bool fresh = old_at == old_end || (new_at != new_end && new_at->place() < old_at->place());
    if (gone) {
      delta.verdicts.emplace_back(key(*old_at++), std::nullopt);
      continue;
    }
    if (fresh || !(*old_at == *new_at)) delta.verdicts.emplace_back(key(*new_at), VerdictRow{new_at->verdict, new_at->rule});
    if (!fresh) ++old_at;
    ++new_at;
  }
}

void Engine::Impl::rebuild_rows(SubjectId id) {
  auto& subject = subjects[id];
  std::vector<SubjectVerdict> rows;
  for (const auto d : {Direction::kIngress, Direction::kEgress}) subject.program[static_cast<std::size_t>(d)].append_base(d, rows);
  std::vector<PeerClass> near;
  for (const PredicateId p : subject.uses)
    for (const PeerClass c : predicate_rows[p].classes.maybe())
      if (has_truth(c, p)) near.push_back(c);
  std::sort(near.begin(), near.end());
  near.erase(std::unique(near.begin(), near.end()), near.end());
  for (const PeerClass c : near)
    for (const auto d : {Direction::kIngress, Direction::kEgress})
      subject.program[static_cast<std::size_t>(d)].append_rows(d, c, classes[c], rows);
  tell_rows(id, subject.rows.data(), subject.rows.data() + subject.rows.size(), rows.data(), rows.data() + rows.size());
  rows.shrink_to_fit();
  subject.rows = std::move(rows);

  SubjectRow row{id};
  const auto fallback = [](const Program& p) {
    return !p.looked() ? Fallback::kOpen : p.rest().verdict == Verdict::kAllow ? Fallback::kAllow : Fallback::kDeny;
  };
  row.ingress = fallback(subject.program[0]), row.egress = fallback(subject.program[1]);
  row.ingress_rule = subject.program[0].rest().rule, row.egress_rule = subject.program[1].rest().rule;
  if (row == subject.row) return;
  subject.row = row;
  for (const GroupId g : subject.groups.maybe())
    if (groups[g].subject == id)
      for (const auto ifindex : groups[g].locals) mark_local(ifindex);
}

// Rows of these classes alone: the rules are as they were.
void Engine::Impl::patch_rows(SubjectId id, std::vector<PeerClass> changed) {
  std::sort(changed.begin(), changed.end());
  changed.erase(std::unique(changed.begin(), changed.end()), changed.end());
  auto& subject = subjects[id];
  std::vector<SubjectVerdict> rows, old, fresh;
  auto at = subject.rows.begin();
  for (const PeerClass c : changed) {
    const auto first =
        std::lower_bound(at, subject.rows.end(), c, [](const SubjectVerdict& r, PeerClass wanted) { return r.peer < wanted; });
    rows.insert(rows.end(), at, first);
    for (at = first; at != subject.rows.end() && at->peer == c; ++at) old.push_back(*at);
    if (!classes.alive(c)) continue;
    const std::size_t before_rows = rows.size();
    for (const auto d : {Direction::kIngress, Direction::kEgress})
      subject.program[static_cast<std::size_t>(d)].append_rows(d, c, classes[c], rows);
    fresh.insert(fresh.end(), rows.begin() + static_cast<std::ptrdiff_t>(before_rows), rows.end());
  }
  rows.insert(rows.end(), at, subject.rows.end());
  tell_rows(id, old.data(), old.data() + old.size(), fresh.data(), fresh.data() + fresh.size());
  subject.rows = std::move(rows);
}

void Engine::Impl::settle_rows() {
  std::unordered_map<SubjectId, std::vector<PeerClass>> patches;
  for (const PeerClass c : std::exchange(changed_classes, {}))
    for (const PredicateId p : classes[c])
      for (const SubjectId s : predicate_rows[p].users.maybe())
        if (uses(s, p) && subjects[s].dirt == SubjectState::kClean) patches[s].push_back(c);
  for (auto& [s, changed] : patches) patch_rows(s, std::move(changed));
  for (const SubjectId s : std::exchange(dirty_subjects, {})) {
    if (subject_keys.alive(s)) rebuild_rows(s);
    subjects[s].dirt = SubjectState::kClean;
  }
}

void Engine::Impl::settle_locals() {
  std::sort(dirty_locals.begin(), dirty_locals.end());
  dirty_locals.erase(std::unique(dirty_locals.begin(), dirty_locals.end()), dirty_locals.end());
  for (const auto ifindex : std::exchange(dirty_locals, {})) {
    std::optional<SubjectRow> now;
    if (const auto at = locals.find(ifindex); at != locals.end()) {
      const GroupId group = pods[at->second.pod].group;
      if (group == 0 && at->second.unknown == Unknown::kClosed) now = SubjectRow{kClosedSubject, Fallback::kDeny, Fallback::kDeny, 0, 0};
      if (group != 0 && groups[group].subject != 0) now = subjects[groups[group].subject].row;
      if (now && now->ingress == Fallback::kOpen && now->egress == Fallback::kOpen) now.reset();
    }
    const auto told = told_locals.find(ifindex);
    if (now ? told != told_locals.end() && told->second == *now : told == told_locals.end()) continue;
    delta.subjects.emplace_back(ifindex, now);
    if (now) told_locals[ifindex] = *now;
    else told_locals.erase(told);
  }
}

}  // namespace fairway::compile::policy
