// AddressIndex: address -> the Services whose slices hold it, counted, and address -> the pods or the node that have it.
//
// Part of Cluster. Compact, as there is an entry for every endpoint of the cluster.
#pragma once

#include <algorithm>
#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/ip.h"

namespace fairway::reflect {

class ServicesByAddress {
 public:
  void add(const net::IpAddr& addr, std::uint32_t service) {
    std::uint32_t& head = heads_.try_emplace(addr, kEnd).first->second;
    for (std::uint32_t at = head; at != kEnd; at = uses_[at].next) {
      if (uses_[at].service != service) continue;
      ++uses_[at].count;
      return;
    }
    std::uint32_t fresh = free_;
    if (fresh == kEnd) {
      fresh = static_cast<std::uint32_t>(uses_.size());
      uses_.push_back({});
    } else {
      free_ = uses_[fresh].next;
    }
    uses_[fresh] = {service, 1, head};
    head = fresh;
  }
  void remove(const net::IpAddr& addr, std::uint32_t service) {
    const auto it = heads_.find(addr);
    if (it == heads_.end()) return;
    for (std::uint32_t* link = &it->second; *link != kEnd; link = &uses_[*link].next) {
      Use& use = uses_[*link];
      if (use.service != service) continue;
      if (--use.count > 0) return;
      const std::uint32_t gone = *link;
      *link = use.next;
      use.next = free_;
      free_ = gone;
      break;
    }
    if (it->second == kEnd) heads_.erase(it);
  }
  template <typename Visit>
  void for_each(const net::IpAddr& addr, Visit visit) const {
    const auto it = heads_.find(addr);
    if (it == heads_.end()) return;
    for (std::uint32_t at = it->second; at != kEnd; at = uses_[at].next) visit(uses_[at].service);
  }

 private:
  static constexpr std::uint32_t kEnd = UINT32_MAX;
  struct Use {
    std::uint32_t service = 0;
    std::uint32_t count = 0;
    std::uint32_t next = kEnd;
  };
  boost::unordered_flat_map<net::IpAddr, std::uint32_t, std::hash<net::IpAddr>> heads_;  // address -> first use
  std::vector<Use> uses_;
  std::uint32_t free_ = kEnd;
};

// A set of names in one string: nearly always one, and then without any memory of its own.
class NameSet {
 public:
  void add(std::string_view name) {
    bool there = false;
    for_each([&](std::string_view other) { there |= other == name; });
    if (there) return;
    if (!names_.empty()) names_ += kSeparator;
    names_ += name;
  }
  void remove(std::string_view name) {
    std::string rest;
    for_each([&](std::string_view other) {
      if (other == name) return;
      if (!rest.empty()) rest += kSeparator;
      rest += other;
    });
    names_ = std::move(rest);
  }
  bool empty() const { return names_.empty(); }
  template <typename Visit>
  void for_each(Visit visit) const {
    for (std::string_view rest = names_; !rest.empty();) {
      const auto end = std::min(rest.find(kSeparator), rest.size());
      visit(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  std::vector<std::string> sorted() const {
    std::vector<std::string> out;
    for_each([&](std::string_view name) { out.emplace_back(name); });
    std::sort(out.begin(), out.end());
    return out;
  }

 private:
  static constexpr char kSeparator = '\n';  // no name holds it
  std::string names_;
};

// Keys of pods by address; several pods share one where they use the host's network, or for a moment.
class PodsByAddress {
 public:
  void add(const net::IpAddr& addr, std::string_view pod) { keys_[addr].add(pod); }
  void remove(const net::IpAddr& addr, std::string_view pod) {
    const auto it = keys_.find(addr);
    if (it == keys_.end()) return;
    it->second.remove(pod);
    if (it->second.empty()) keys_.erase(it);
  }
  std::vector<std::string> find(const net::IpAddr& addr) const {
    const auto it = keys_.find(addr);
    return it == keys_.end() ? std::vector<std::string>{} : it->second.sorted();
  }
  template <typename Visit>
  void for_each(Visit visit) const {
    for (const auto& [addr, keys] : keys_) visit(addr);
  }
  std::size_t size() const { return keys_.size(); }

 private:
  boost::unordered_flat_map<net::IpAddr, NameSet, std::hash<net::IpAddr>> keys_;
};

// Numbers for names, from 0 on, in the order of their coming; each name is kept once.
class Numbers {
 public:
  Numbers() : index_(16, Hash{&names_}, Equal{&names_}) {}
  Numbers(const Numbers&) = delete;
  Numbers& operator=(const Numbers&) = delete;
  std::uint32_t get(std::string_view name) {
    if (const auto it = index_.find(name); it != index_.end()) return *it;
    names_.emplace_back(name);
    index_.insert(static_cast<std::uint32_t>(names_.size() - 1));
    return static_cast<std::uint32_t>(names_.size() - 1);
  }
  std::optional<std::uint32_t> find(std::string_view name) const {
    const auto it = index_.find(name);
    return it == index_.end() ? std::nullopt : std::optional(*it);
  }
  const std::string& name(std::uint32_t number) const { return names_[number]; }
  std::uint32_t size() const { return static_cast<std::uint32_t>(names_.size()); }

 private:
  struct Hash {
    using is_transparent = void;
    const std::vector<std::string>* names;
    std::size_t operator()(std::string_view name) const { return std::hash<std::string_view>{}(name); }
    std::size_t operator()(std::uint32_t number) const { return (*this)(std::string_view((*names)[number])); }
  };
  struct Equal {
    using is_transparent = void;
    const std::vector<std::string>* names;
    std::string_view text(std::string_view name) const { return name; }
    std::string_view text(std::uint32_t number) const { return (*names)[number]; }
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return text(a) == text(b);
    }
  };
  std::vector<std::string> names_;
  boost::unordered_flat_set<std::uint32_t, Hash, Equal> index_;
};

}  // namespace fairway::reflect
