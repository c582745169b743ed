#include "policycheck/pattern.h"

#include <algorithm>
#include <charconv>

namespace fairway::policycheck {
namespace {

constexpr std::size_t kMaxPattern = 512;

Result<model::LabelSelector> parse_labels(std::string_view text) {
  model::LabelSelector out;
  while (!text.empty()) {
    const auto comma = std::min(text.find(','), text.size());
    std::string_view one = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    using Op = model::LabelRequirement::Op;
    model::LabelRequirement r;
    const auto equals = one.find('=');
    if (equals == std::string_view::npos) {
      r.op = one.starts_with('!') ? Op::kDoesNotExist : Op::kExists;
      r.key = one.substr(one.starts_with('!') ? 1 : 0);
    } else {
      const bool differs = equals > 0 && one[equals - 1] == '!';
      r.op = differs ? Op::kNotIn : Op::kIn;
      r.key = one.substr(0, differs ? equals - 1 : equals);
      r.values = {std::string(one.substr(equals + 1))};
    }
    if (r.key.empty()) return make_error(Code::kInvalid, "a label has no key");
    out.requirements.push_back(std::move(r));
  }
  model::canonicalize(out);
  return out;
}

bool is_glob(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '*';
  });
}

Result<std::uint16_t> parse_port(std::string_view text) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || number < 1 || number > 65535)
    return make_error(Code::kInvalid, "\"" + std::string(text.substr(0, 32)) + "\" is no port from 1 to 65535");
  return static_cast<std::uint16_t>(number);
}

}  // namespace

// Without recursion: behind the last star, try one more letter.
bool matches_glob(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = std::string_view::npos, behind = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') star = p++, behind = t;
    else if (p < pattern.size() && pattern[p] == text[t]) ++p, ++t;
    else if (star != std::string_view::npos) p = star + 1, t = ++behind;
    else return false;
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

Result<Pattern> Pattern::parse(std::string_view text, const std::string& default_namespace) {
  if (text.empty() || text.size() > kMaxPattern) return make_error(Code::kInvalid, "names no end: it is empty or longer than 512 letters");
  Pattern out;
  out.text_ = text;
  if (text == "*") {
    out.everyone_ = true;
    return out;
  }
  if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
  if (auto network = net::Prefix::parse(text); network.ok()) {
    out.network_ = *network;
    return out;
  }
  if (auto addr = net::IpAddr::parse(text); addr.ok()) {
    out.network_ = net::Prefix(*addr);
    return out;
  }
  const auto brace = std::min(text.find('{'), text.size());
  const auto slash = text.substr(0, brace).find('/');
  out.ns_ = slash == std::string_view::npos ? std::string_view(default_namespace) : text.substr(0, slash);
  std::string_view name = slash == std::string_view::npos ? text : text.substr(slash + 1);
  if (name.starts_with('{')) {
    if (!name.ends_with('}')) return make_error(Code::kInvalid, "\"" + out.text_ + "\" has no } at its end");
    FW_ASSIGN(out.labels_, parse_labels(name.substr(1, name.size() - 2)));
    name = "*";
  }
  out.name_ = name;
  if (!is_glob(out.ns_) || !is_glob(out.name_))
    return make_error(Code::kInvalid, "\"" + out.text_ + "\" is no name, NAMESPACE/NAME, {label=value}, network, outside, nodes or *");
  out.exact_ = !out.labels_ && out.text_.find('*') == std::string::npos;
  return out;
}

bool Pattern::matches(const Check& check, const End& end) const {
  if (everyone_) return end.kind != End::Kind::kNodes;
  if (end.kind == End::Kind::kNodes) return text_ == "nodes";
  if (end.kind == End::Kind::kOutside) return text_ == "outside" || text_ == end.name;
  if (text_ == "outside" || text_ == "nodes") return false;
  const Workload& workload = check.workload(end);
  if (!matches_glob(ns_, workload.id.ns)) return false;
  const auto is_pod = [&](std::size_t pod) { return check.inventory().state.pods[pod].id.name == name_; };
  if (!matches_glob(name_, workload.id.name) && std::none_of(workload.pods.begin(), workload.pods.end(), is_pod)) return false;
  return !labels_ || std::any_of(workload.pods.begin(), workload.pods.end(),
                                 [&](std::size_t pod) { return model::matches(*labels_, check.inventory().state.pods[pod].labels); });
}

Result<std::vector<const End*>> Pattern::ends(const Check& check) const {
  if (network_) return check.ends_at(*network_);
  std::vector<const End*> out;
  for (const End& end : check.ends())
    if (matches(check, end)) out.push_back(&end);
  return out;
}

Result<PortSet> parse_ports(std::string_view text) {
  net::Protocol protocol = net::Protocol::kTcp;
  if (const auto slash = text.find('/'); slash != std::string_view::npos) {
    std::string name(text.substr(slash + 1));
    for (char& c : name) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
    const auto known = net::parse_protocol(name);
    if (!known) return make_error(Code::kInvalid, "\"" + name.substr(0, 32) + "\" is no protocol: tcp, udp or sctp");
    protocol = *known;
    text = text.substr(0, slash);
  }
  const auto dash = text.find('-');
  FW_ASSIGN(const auto first, parse_port(text.substr(0, dash)));
  if (dash == std::string_view::npos) return PortSet::port(protocol, first);
  FW_ASSIGN(const auto last, parse_port(text.substr(dash + 1)));
  if (last < first) return make_error(Code::kInvalid, "\"" + std::string(text) + "\" ends before it begins");
  return PortSet::range(protocol, first, last);
}

std::pair<std::string_view, std::string_view> split_port(std::string_view text) {
  const auto colon = text.rfind(':');
  const auto bracket = text.find_last_of("]}");
  const bool several =
      colon != std::string_view::npos && bracket == std::string_view::npos && text.find(':') != colon;  // a bare IPv6 address
  if (colon == std::string_view::npos || several || (bracket != std::string_view::npos && colon < bracket)) return {text, {}};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

}  // namespace fairway::policycheck
