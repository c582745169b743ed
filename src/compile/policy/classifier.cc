#include "compile/policy/classifier.h"

namespace fairway::compile::policy {
namespace {

bool is_key(Label label) { return label != 0 && static_cast<StringId>(label) == 0; }

}  // namespace

void Classifier::mark(GroupId id) {
  if (groups_[id].changed) return;
  groups_[id].changed = true;
  changed_.push_back(id);
}

std::vector<GroupId> Classifier::take_changed() {
  std::erase_if(changed_, [this](GroupId id) {
    groups_[id].changed = false;
    return !groups_[id].here;
  });
  return std::exchange(changed_, {});
}

bool Classifier::holds(SelectorId selector, GroupId group) const {
  if (group >= groups_.size() || !groups_[group].here) return false;
  const auto& truth = groups_[group].truth;
  return std::binary_search(truth.begin(), truth.end(), selector);
}

// Where a selector is found: by the label requirement of fewest values, in its namespace or in all.
std::vector<Classifier::Place> Classifier::places(SelectorId id) const {
  const Selector& s = selectors_[id];
  const auto asked = selectors_.asked(s.pods);
  if (asked.never) return {};
  const std::vector<Label>* best = nullptr;
  for (const auto& labels : asked.one_of)
    if (best == nullptr || labels.size() < best->size()) best = &labels;
  if (best == nullptr) return {{s.ns, 0}};
  std::vector<Place> out;
  for (const Label l : *best) out.push_back({s.ns, l});
  return out;
}

// Groups among which all matches are.
std::vector<GroupId> Classifier::candidates(SelectorId id) const {
  const Selector& s = selectors_[id];
  const auto asked = selectors_.asked(s.pods);
  if (asked.never) return {};
  std::size_t best = SIZE_MAX;
  const std::vector<Label>* labels = nullptr;
  for (const auto& one_of : asked.one_of) {
    std::size_t size = 0;
    for (const Label l : one_of)
      if (auto found = by_label_.find(l); found != by_label_.end()) size += found->second.size();
    if (size < best) best = size, labels = &one_of;
  }
  if (s.ns != 0) {
    const auto found = by_namespace_.find(s.ns);
    if (found == by_namespace_.end()) return {};
    if (found->second.size() < best) return found->second.maybe();
  }
  std::vector<GroupId> out;
  if (labels != nullptr) {
    for (const Label l : *labels)
      if (auto found = by_label_.find(l); found != by_label_.end())
        out.insert(out.end(), found->second.maybe().begin(), found->second.maybe().end());
    return out;
  }
  for (const auto& [ns, groups] : by_namespace_)
    if (selectors_.namespace_matches(s, ns)) out.insert(out.end(), groups.maybe().begin(), groups.maybe().end());
  return out;
}

void Classifier::add_selector(SelectorId id) {
  for (const Place& p : places(id)) {
    by_place_[p].push_back(id);
    if (p.ns == 0) ++of_all_namespaces_;
    if (is_key(p.label)) ++by_key_;
  }
  for (const GroupId g : candidates(id)) {
    if (!groups_[g].here || !selectors_.matches(id, g)) continue;
    auto& truth = groups_[g].truth;
    const auto at = std::lower_bound(truth.begin(), truth.end(), id);
    if (at != truth.end() && *at == id) continue;
    truth.insert(at, id);
    mark(g);
  }
}

void Classifier::remove_selector(SelectorId id) {
  for (const Place& p : places(id)) {
    auto& there = by_place_[p];
    if (const auto at = std::find(there.begin(), there.end(), id); at != there.end()) *at = there.back(), there.pop_back();
    if (there.empty()) by_place_.erase(p);
    if (p.ns == 0) --of_all_namespaces_;
    if (is_key(p.label)) --by_key_;
  }
  for (const GroupId g : candidates(id)) {
    if (!holds(id, g)) continue;
    std::erase(groups_[g].truth, id);
    mark(g);
  }
}

void Classifier::touch(SelectorId id) {
  for_each_group(id, [this](GroupId g) { mark(g); });
}

std::vector<SelectorId> Classifier::classify(GroupId id) const {
  const Group& g = selectors_.group(id);
  std::vector<SelectorId> out;
  const auto look = [&](StringId ns, Label label) {
    const auto found = by_place_.find(Place{ns, label});
    if (found == by_place_.end()) return;
    for (const SelectorId s : found->second)
      if (selectors_.matches(s, id)) out.push_back(s);
  };
  if (by_place_.empty()) return out;
  for (const StringId ns : {g.ns, StringId{0}}) {
    if (ns == 0 && of_all_namespaces_ == 0) continue;
    look(ns, 0);
    for (const Label l : selectors_.labels(g.labels)) {
      look(ns, l);
      if (by_key_ > 0) look(ns, label_of(static_cast<StringId>(l >> 32), 0));
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

void Classifier::add_group(GroupId id) {
  if (id >= groups_.size()) groups_.resize(id + 1);
  const Group& g = selectors_.group(id);
  groups_[id].here = true;
  by_namespace_[g.ns].add(id);
  for (const Label l : selectors_.labels(g.labels)) by_label_[l].add(id), by_label_[label_of(static_cast<StringId>(l >> 32), 0)].add(id);
  groups_[id].truth = classify(id);
  mark(id);
}

bool Classifier::has(GroupId id, StringId ns) const { return groups_[id].here && selectors_.group(id).ns == ns; }
bool Classifier::has_label(GroupId id, Label label) const {
  if (!groups_[id].here) return false;
  const auto& labels = selectors_.labels(selectors_.group(id).labels);
  const auto at = std::lower_bound(labels.begin(), labels.end(), label);
  return at != labels.end() && (is_key(label) ? *at >> 32 == label >> 32 : *at == label);
}

void Classifier::remove_group(GroupId id) {
  const Group& g = selectors_.group(id);
  groups_[id].here = false;
  groups_[id].truth.clear();
  const auto forget = [](auto& index, auto key, auto valid) {
    auto found = index.find(key);
    found->second.removed(valid);
    if (found->second.size() == 0) index.erase(found);
  };
  forget(by_namespace_, g.ns, [&](GroupId other) { return has(other, g.ns); });
  for (const Label l : selectors_.labels(g.labels)) {
    const Label key = label_of(static_cast<StringId>(l >> 32), 0);
    forget(by_label_, l, [&](GroupId other) { return has_label(other, l); });
    forget(by_label_, key, [&](GroupId other) { return has_label(other, key); });
  }
}

void Classifier::namespace_changed(StringId ns) {
  const auto found = by_namespace_.find(ns);
  if (found == by_namespace_.end()) return;
  for (const GroupId id : found->second.maybe()) {
    if (!has(id, ns)) continue;
    auto truth = classify(id);
    if (truth == groups_[id].truth) continue;
    groups_[id].truth = std::move(truth);
    mark(id);
  }
}

}  // namespace fairway::compile::policy
