// Pattern: how people name ends: "frontend", "shop/db", "shop/*", "*", "{app=web,tier!=cache}", "shop/{app=web}", "outside", "nodes",
// "10.0.0.0/8". A name without a namespace is one of the default namespace.
#pragma once

#include <functional>

#include "policycheck/check.h"

namespace fairway::policycheck {

class Pattern {
 public:
  static Result<Pattern> parse(std::string_view text, const std::string& default_namespace);
  // All of the check's ends that it names; an error where it is an address that cannot be one (check.h).
  Result<std::vector<const End*>> ends(const Check& check) const;
  const std::string& text() const { return text_; }
  // Whether it names the workload alone, not among others.
  bool exact() const { return exact_; }

 private:
  bool matches(const Check& check, const End& end) const;
  std::string text_, ns_, name_;  // globs
  std::optional<model::LabelSelector> labels_;
  std::optional<net::Prefix> network_;
  bool everyone_ = false, exact_ = false;
};

// "80", "53/udp", "8000-8010", "http" is none. Empty: nothing was said.
Result<PortSet> parse_ports(std::string_view text);
// "NAME:PORT" parted; a port is behind the last colon that is not within [] or {}.
std::pair<std::string_view, std::string_view> split_port(std::string_view text);
bool matches_glob(std::string_view pattern, std::string_view text);

}  // namespace fairway::policycheck
