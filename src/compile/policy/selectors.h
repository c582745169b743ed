// What selectors look at, as numbers: strings, label sets, named ports, namespaces, groups of pods that no selector can tell
// apart, and the selectors themselves.
// Holders are counted, so that labels of pods long gone are not kept.
#pragma once

#include <unordered_map>

#include "compile/policy/interner.h"
#include "model/policy.h"
#include "model/rows.h"

namespace fairway::compile::policy {

using StringId = std::uint32_t;    // 0: none
using LabelSetId = std::uint32_t;  // 0: none, as of a namespace that is not known
using PortSetId = std::uint32_t;
using LabelsId = std::uint32_t;    // a model::LabelSelector
using SelectorId = std::uint32_t;  // a PodSelector, perhaps with a port name
using GroupId = std::uint32_t;

using Label = std::uint64_t;  // key << 32 | value; value 0: the key alone
constexpr Label label_of(StringId key, StringId value) { return static_cast<Label>(key) << 32 | value; }

// A port under a name: name << 32 | protocol << 16 | number.
struct PortNumber {
  std::uint8_t protocol = 0;
  std::uint16_t port = 0;
};
using NamedPort = std::uint64_t;
constexpr StringId name_of(NamedPort p) { return static_cast<StringId>(p >> 32); }
constexpr PortNumber number_of(NamedPort p) { return {static_cast<std::uint8_t>(p >> 16), static_cast<std::uint16_t>(p)}; }

struct Group {
  StringId ns = 0;
  LabelSetId labels = 0;
  PortSetId ports = 0;
  bool operator==(const Group&) const = default;
  std::size_t hash() const { return mix(mix(ns, labels), ports); }
};

struct Selector {
  StringId ns = 0;  // this namespace; 0: by `namespaces`
  LabelsId namespaces = 0;
  LabelsId pods = 0;
  StringId port_name = 0;     // and has a port of this name
  std::uint8_t protocol = 0;  // of this protocol; 0: any
  bool operator==(const Selector&) const = default;
  std::size_t hash() const { return mix(mix(mix(ns, namespaces), pods), static_cast<std::uint64_t>(port_name) << 8 | protocol); }
  bool has_port(NamedPort p) const { return name_of(p) == port_name && (protocol == 0 || number_of(p).protocol == protocol); }
};

class Selectors {
 public:
  StringId acquire_string(std::string_view text) { return strings_.acquire(text).first; }
  void hold_string(StringId id) { strings_.hold(id); }
  StringId find_string(std::string_view text) const { return strings_.find(text); }
  void release_string(StringId id) {
    if (id != 0) strings_.release(id);
  }
  const std::string& text(StringId id) const { return strings_[id]; }

  LabelSetId acquire_labels(const model::Labels& labels);
  void release_labels(LabelSetId id);
  PortSetId acquire_ports(const std::vector<model::NamedPort>& ports);
  void release_ports(PortSetId id);
  LabelsId acquire_selector(const model::LabelSelector& selector);
  void hold_selector(LabelsId id) { label_selectors_.hold(id); }
  void release_selector(LabelsId id);

  // And whether it is new. The parts are handed over.
  std::pair<GroupId, bool> acquire_group(const Group& parts);
  bool release_group(GroupId id);
  const Group& group(GroupId id) const { return groups_[id]; }
  bool group_alive(GroupId id) const { return groups_.alive(id); }
  // Of pods in a namespace (`own` where the selector names none), perhaps with a port name.
  SelectorId acquire(const model::PodSelector& selector, const std::string& own, const std::string& port_name = {},
                     std::uint8_t protocol = 0);
  void hold(SelectorId id) { selectors_.hold(id); }
  bool release(SelectorId id);
  const Selector& operator[](SelectorId id) const { return selectors_[id]; }

  // 0: not known.
  void set_namespace(StringId ns, LabelSetId labels);
  bool namespace_matches(const Selector& selector, StringId ns) const;
  bool matches(SelectorId selector, GroupId group) const;
  bool labels_match(LabelsId selector, LabelSetId labels) const;
  const std::vector<Label>& labels(LabelSetId id) const { return label_sets_[id]; }
  const std::vector<NamedPort>& ports(PortSetId id) const { return port_sets_[id]; }

  // Each requirement that asks for one of some labels, or for a key: those of which a match has one. `never`: none can match.
  struct Asked {
    bool never = false;
    std::vector<std::vector<Label>> one_of;
  };
  Asked asked(LabelsId selector) const;
  void tick();

 private:
  Interner<std::string> strings_;
  Interner<std::vector<Label>> label_sets_;
  Interner<std::vector<NamedPort>> port_sets_;
  Interner<std::vector<std::uint32_t>> label_selectors_;  // for each requirement: key, op, number of values, values in order
  Interner<Group> groups_;
  Interner<Selector> selectors_;
  std::unordered_map<StringId, LabelSetId> namespaces_;
};

}  // namespace fairway::compile::policy
