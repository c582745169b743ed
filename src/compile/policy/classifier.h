// Which selectors hold for which groups of pods, kept as either changes.
//
// A selector is found by one label that each of its matches must have (or its namespace), and a group by its labels: neither
// is compared with all of the other. Invariant between calls: truth(g) is the sorted set of the selectors here that match g.
#pragma once

#include <unordered_map>
#include <vector>

#include "compile/policy/selectors.h"

namespace fairway::compile::policy {

class Classifier {
 public:
  explicit Classifier(const Selectors& selectors) : selectors_(selectors) {}

  void add_selector(SelectorId id);
  void remove_selector(SelectorId id);
  void add_group(GroupId id);
  void remove_group(GroupId id);
  void namespace_changed(StringId ns);

  const std::vector<SelectorId>& truth(GroupId id) const { return groups_[id].truth; }
  bool holds(SelectorId selector, GroupId group) const;
  // Marks as changed all groups for which it holds.
  void touch(SelectorId id);
  template <typename Fn>
  void for_each_group(SelectorId id, Fn fn) const {
    auto groups = candidates(id);
    std::sort(groups.begin(), groups.end());
    groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
    for (const GroupId g : groups)
      if (holds(id, g)) fn(g);
  }
  // Groups whose truth has changed since the last call (or may have), also new ones; not those that have gone.
  std::vector<GroupId> take_changed();

 private:
  struct Row {
    bool here = false, changed = false;
    std::vector<SelectorId> truth;
  };
  struct Place {
    StringId ns;
    Label label;
    bool operator==(const Place&) const = default;
  };
  struct PlaceHash {
    std::size_t operator()(const Place& p) const { return mix(p.ns, p.label); }
  };
  void mark(GroupId id);
  std::vector<SelectorId> classify(GroupId id) const;
  std::vector<Place> places(SelectorId id) const;
  std::vector<GroupId> candidates(SelectorId id) const;
  bool has(GroupId id, StringId ns) const;
  bool has_label(GroupId id, Label label) const;

  const Selectors& selectors_;
  std::vector<Row> groups_;
  std::unordered_map<Place, std::vector<SelectorId>, PlaceHash> by_place_;
  std::size_t of_all_namespaces_ = 0, by_key_ = 0;  // selectors there, so that nobody looks for what is not
  std::unordered_map<Label, LazySet> by_label_;     // groups, by label and by key alone
  std::unordered_map<StringId, LazySet> by_namespace_;
  std::vector<GroupId> changed_;
};

}  // namespace fairway::compile::policy
