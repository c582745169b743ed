// AddressIndex: address -> the Services whose slices hold it, counted, and address -> the pods or the node that have it.
//
// Part of Cluster. Made for one owner an address, which is the rule, and right for any number: the first lies in the
// table itself, the rest beside it.
#pragma once

#include <algorithm>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "net/ip.h"

namespace fairway::reflect {

class ServicesByAddress {
 public:
  void add(const net::IpAddr& addr, std::uint32_t service) {
    auto [it, fresh] = first_.try_emplace(addr, Use{service, 1});
    if (fresh) return;
    if (it->second.service == service) ++it->second.count;
    else ++more_[addr][service];
  }
  void remove(const net::IpAddr& addr, std::uint32_t service) {
    const auto it = first_.find(addr);
    if (it == first_.end()) return;
    const auto rest = more_.find(addr);
    if (it->second.service != service) {
      if (rest == more_.end()) return;
      const auto use = rest->second.find(service);
      if (use != rest->second.end() && --use->second == 0) rest->second.erase(use);
    } else if (--it->second.count == 0) {
      if (rest == more_.end()) {
        first_.erase(it);
        return;
      }
      it->second = {rest->second.begin()->first, rest->second.begin()->second};
      rest->second.erase(rest->second.begin());
    }
    if (rest != more_.end() && rest->second.empty()) more_.erase(rest);
  }
  template <typename Visit>
  void for_each(const net::IpAddr& addr, Visit visit) const {
    const auto it = first_.find(addr);
    if (it == first_.end()) return;
    visit(it->second.service);
    if (const auto rest = more_.find(addr); rest != more_.end())
      for (const auto& [service, count] : rest->second) visit(service);
  }

 private:
  struct Use {
    std::uint32_t service;
    std::uint32_t count;
  };
  boost::unordered_flat_map<net::IpAddr, Use, std::hash<net::IpAddr>> first_;
  std::unordered_map<net::IpAddr, std::unordered_map<std::uint32_t, std::uint32_t>> more_;  // never an empty inner map
};

// Keys of pods by address; several pods share one where they use the host's network, or for a moment.
class PodsByAddress {
 public:
  void add(const net::IpAddr& addr, std::string_view pod) {
    std::string& keys = keys_[addr];
    if (!contains(keys, pod)) {
      if (!keys.empty()) keys += kSeparator;
      keys += pod;
    }
  }
  void remove(const net::IpAddr& addr, std::string_view pod) {
    const auto it = keys_.find(addr);
    if (it == keys_.end()) return;
    std::string rest;
    for (const auto& key : split(it->second)) {
      if (key == pod) continue;
      if (!rest.empty()) rest += kSeparator;
      rest += key;
    }
    if (rest.empty()) keys_.erase(it);
    else it->second = std::move(rest);
  }
  std::vector<std::string> find(const net::IpAddr& addr) const {
    const auto it = keys_.find(addr);
    auto out = it == keys_.end() ? std::vector<std::string>{} : split(it->second);
    std::sort(out.begin(), out.end());
    return out;
  }
  template <typename Visit>
  void for_each(Visit visit) const {
    for (const auto& [addr, keys] : keys_) visit(addr);
  }

 private:
  static constexpr char kSeparator = '\n';  // no key holds it
  static std::vector<std::string> split(std::string_view keys) {
    std::vector<std::string> out;
    while (!keys.empty()) {
      const auto end = std::min(keys.find(kSeparator), keys.size());
      out.emplace_back(keys.substr(0, end));
      keys.remove_prefix(std::min(end + 1, keys.size()));
    }
    return out;
  }
  static bool contains(std::string_view keys, std::string_view pod) {
    while (!keys.empty()) {
      const auto end = std::min(keys.find(kSeparator), keys.size());
      if (keys.substr(0, end) == pod) return true;
      keys.remove_prefix(std::min(end + 1, keys.size()));
    }
    return false;
  }
  boost::unordered_flat_map<net::IpAddr, std::string, std::hash<net::IpAddr>> keys_;
};

}  // namespace fairway::reflect
