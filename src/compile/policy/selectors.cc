#include "compile/policy/selectors.h"

namespace fairway::compile::policy {
namespace {

using Op = model::LabelRequirement::Op;

// Calls `fn(key, op, values)` for each requirement until it returns false.
template <typename Fn>
bool all_requirements(const std::vector<std::uint32_t>& words, Fn fn) {
  for (std::size_t at = 0; at < words.size();) {
    const std::uint32_t* values = words.data() + at + 3;
    if (!fn(words[at], static_cast<Op>(words[at + 1]), values, values + words[at + 2])) return false;
    at += 3 + words[at + 2];
  }
  return true;
}

StringId value_of(const std::vector<Label>& labels, StringId key) {
  const auto at = std::lower_bound(labels.begin(), labels.end(), label_of(key, 0));
  return at != labels.end() && *at >> 32 == key ? static_cast<StringId>(*at) : 0;
}

}  // namespace

LabelSetId Selectors::acquire_labels(const model::Labels& labels) {
  std::vector<Label> set;
  set.reserve(labels.size());
  for (const auto& [key, value] : labels) set.push_back(label_of(acquire_string(key), acquire_string(value)));
  std::sort(set.begin(), set.end());
  const auto [id, fresh] = label_sets_.acquire(set);
  if (!fresh)  // it holds them already
    for (const Label l : set) release_string(l >> 32), release_string(static_cast<StringId>(l));
  return id;
}
void Selectors::release_labels(LabelSetId id) {
  if (id == 0 || !label_sets_.release(id)) return;
  for (const Label l : label_sets_[id]) release_string(l >> 32), release_string(static_cast<StringId>(l));
}

PortSetId Selectors::acquire_ports(const std::vector<model::NamedPort>& ports) {
  std::vector<NamedPort> set;
  for (const auto& p : ports) {
    if (p.name.empty()) continue;
    const NamedPort number = static_cast<std::uint64_t>(p.protocol) << 16 | p.port;
    set.push_back(static_cast<NamedPort>(acquire_string(p.name)) << 32 | number);
  }
  std::sort(set.begin(), set.end());
  for (std::size_t i = 1; i < set.size(); ++i)
    if (set[i] == set[i - 1]) release_string(name_of(set[i]));
  set.erase(std::unique(set.begin(), set.end()), set.end());
  const auto [id, fresh] = port_sets_.acquire(set);
  if (!fresh)
    for (const NamedPort p : set) release_string(name_of(p));
  return id;
}
void Selectors::release_ports(PortSetId id) {
  if (id == 0 || !port_sets_.release(id)) return;
  for (const NamedPort p : port_sets_[id]) release_string(name_of(p));
}

LabelsId Selectors::acquire_selector(const model::LabelSelector& selector) {
  std::vector<std::uint32_t> words;
  for (const auto& r : selector.requirements) {
    words.push_back(acquire_string(r.key));
    words.push_back(static_cast<std::uint32_t>(r.op));
    words.push_back(static_cast<std::uint32_t>(r.values.size()));
    const std::size_t first = words.size();
    for (const auto& v : r.values) words.push_back(acquire_string(v));
    std::sort(words.begin() + static_cast<std::ptrdiff_t>(first), words.end());
  }
  const auto [id, fresh] = label_selectors_.acquire(words);
  if (!fresh) {
    const auto release_all = [this](StringId key, Op, const std::uint32_t* value, const std::uint32_t* end) {
      release_string(key);
      for (; value != end; ++value) release_string(*value);
      return true;
    };
    all_requirements(words, release_all);
  }
  return id;
}
void Selectors::release_selector(LabelsId id) {
  if (id == 0 || !label_selectors_.release(id)) return;
  all_requirements(label_selectors_[id], [this](StringId key, Op, const std::uint32_t* value, const std::uint32_t* end) {
    release_string(key);
    for (; value != end; ++value) release_string(*value);
    return true;
  });
}

std::pair<GroupId, bool> Selectors::acquire_group(const Group& parts) {
  const auto [id, fresh] = groups_.acquire(parts);
  if (!fresh) release_string(parts.ns), release_labels(parts.labels), release_ports(parts.ports);
  return {id, fresh};
}
bool Selectors::release_group(GroupId id) {
  if (!groups_.release(id)) return false;
  const Group& g = groups_[id];
  release_string(g.ns), release_labels(g.labels), release_ports(g.ports);
  return true;
}

SelectorId Selectors::acquire(const model::PodSelector& selector, const std::string& own, const std::string& port_name,
                              std::uint8_t protocol) {
  Selector s;
  if (selector.namespaces) s.namespaces = acquire_selector(*selector.namespaces);
  else s.ns = acquire_string(own);
  s.pods = acquire_selector(selector.pods);
  if (!port_name.empty()) s.port_name = acquire_string(port_name), s.protocol = protocol;
  const auto [id, fresh] = selectors_.acquire(s);
  if (!fresh) release_string(s.ns), release_selector(s.namespaces), release_selector(s.pods), release_string(s.port_name);
  return id;
}
bool Selectors::release(SelectorId id) {
  if (!selectors_.release(id)) return false;
  const Selector& s = selectors_[id];
  release_string(s.ns), release_selector(s.namespaces), release_selector(s.pods), release_string(s.port_name);
  return true;
}

void Selectors::set_namespace(StringId ns, LabelSetId labels) {
  if (labels == 0) namespaces_.erase(ns);
  else namespaces_[ns] = labels;
}

bool Selectors::labels_match(LabelsId selector, LabelSetId labels) const {
  const auto& set = label_sets_[labels];
  return all_requirements(label_selectors_[selector], [&](StringId key, Op op, const std::uint32_t* value, const std::uint32_t* end) {
    const StringId has = value_of(set, key);
    switch (op) {
      case Op::kIn:
        return has != 0 && std::binary_search(value, end, has);
      case Op::kNotIn:
        return has == 0 || !std::binary_search(value, end, has);
      case Op::kExists:
        return has != 0;
      case Op::kDoesNotExist:
        return has == 0;
    }
    return false;
  });
}

bool Selectors::namespace_matches(const Selector& selector, StringId ns) const {
  if (selector.ns != 0) return selector.ns == ns;
  if (label_selectors_[selector.namespaces].empty()) return true;
  const auto known = namespaces_.find(ns);
  return known != namespaces_.end() && labels_match(selector.namespaces, known->second);
}

bool Selectors::matches(SelectorId selector, GroupId group) const {
  const Selector& s = selectors_[selector];
  const Group& g = groups_[group];
  if (!namespace_matches(s, g.ns) || !labels_match(s.pods, g.labels)) return false;
  if (s.port_name == 0) return true;
  const auto& ports = port_sets_[g.ports];
  return std::any_of(ports.begin(), ports.end(), [&](NamedPort p) { return s.has_port(p); });
}

Selectors::Asked Selectors::asked(LabelsId selector) const {
  Asked out;
  all_requirements(label_selectors_[selector], [&](StringId key, Op op, const std::uint32_t* value, const std::uint32_t* end) {
    if (op == Op::kIn) {
      out.never |= value == end;
      auto& labels = out.one_of.emplace_back();
      for (; value != end; ++value) labels.push_back(label_of(key, *value));
    } else if (op == Op::kExists) {
      out.one_of.push_back({label_of(key, 0)});
    }
    return true;
  });
  return out;
}

void Selectors::tick() {
  strings_.tick(), label_sets_.tick(), port_sets_.tick(), label_selectors_.tick(), groups_.tick(), selectors_.tick();
}

}  // namespace fairway::compile::policy
