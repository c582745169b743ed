#include "apiserver/formats.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>

#include "k8s/quantity.h"

namespace fairway::apiserver {
namespace {

bool lower_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool digit(char c) { return c >= '0' && c <= '9'; }
bool alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool alnum(char c) { return alpha(c) || digit(c); }

bool is_dns_label(std::string_view text) {
  return !text.empty() && lower_alnum(text.front()) && lower_alnum(text.back()) &&
         std::all_of(text.begin(), text.end(), [](char c) { return lower_alnum(c) || c == '-'; });
}

bool is_dns_subdomain(std::string_view text) {
  while (true) {
    const auto dot = text.find('.');
    if (!is_dns_label(text.substr(0, dot))) return false;
    if (dot == std::string_view::npos) return true;
    text.remove_prefix(dot + 1);
  }
}

std::string too_long(std::size_t limit) { return fmt::format("must be no more than {} characters", limit); }

constexpr std::string_view kLabel = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
constexpr std::string_view kSubdomain = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";

std::vector<std::string> check_dns_label(std::string_view value) {
  std::vector<std::string> errors;
  if (value.size() > 63) errors.push_back(too_long(63));
  if (!is_dns_label(value)) {
    errors.push_back(is_dns_subdomain(value) ? "must not contain dots"
                                             : regex_error("a lowercase RFC 1123 label must consist of lower case alphanumeric characters "
                                                           "or '-', and must start and end with an alphanumeric character",
                                                           kLabel, {"my-name", "123-abc"}));
  }
  return errors;
}

std::vector<std::string> check_dns_subdomain(std::string_view value) {
  std::vector<std::string> errors;
  if (value.size() > 253) errors.push_back(too_long(253));
  if (!is_dns_subdomain(value)) {
    errors.push_back(
        regex_error("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "
                    "with an alphanumeric character",
                    kSubdomain, {"example.com"}));
  }
  return errors;
}

std::vector<std::string> check_dns1035_label(std::string_view value) {
  std::vector<std::string> errors;
  if (value.size() > 63) errors.push_back(too_long(63));
  if (!is_dns_label(value) || digit(value.front())) {
    errors.push_back(
        regex_error("a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and "
                    "end with an alphanumeric character",
                    "[a-z]([-a-z0-9]*[a-z0-9])?", {"my-name", "abc-123"}));
  }
  return errors;
}

std::vector<std::string> check_port_name(std::string_view value) {
  std::vector<std::string> errors;
  if (value.size() > 15) errors.push_back(too_long(15));
  if (value.empty() || !std::all_of(value.begin(), value.end(), [](char c) { return lower_alnum(c) || c == '-'; })) {
    errors.push_back("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
  }
  if (std::none_of(value.begin(), value.end(), alpha)) errors.push_back("must contain at least one letter (a-z)");
  if (value.find("--") != std::string_view::npos) errors.push_back("must not contain consecutive hyphens");
  if (!value.empty() && (value.front() == '-' || value.back() == '-')) errors.push_back("must not begin or end with a hyphen");
  return errors;
}

// [A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?
bool is_name_part(std::string_view text) {
  return !text.empty() && alnum(text.front()) && alnum(text.back()) &&
         std::all_of(text.begin(), text.end(), [](char c) { return alnum(c) || c == '-' || c == '_' || c == '.'; });
}

std::vector<std::string> check_qualified_name(std::string_view value) {
  const auto slash = value.find('/');
  std::string_view name = value;
  std::vector<std::string> errors;
  constexpr std::string_view kParts = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
  constexpr std::string_view kWhat =
      "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
  if (slash != std::string_view::npos) {
    const std::string_view prefix = value.substr(0, slash);
    name = value.substr(slash + 1);
    if (name.find('/') != std::string_view::npos) {
      return {fmt::format("a qualified name {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                          regex_error(kWhat, kParts, {"MyName", "my.name", "123-abc"}))};
    }
    if (prefix.empty()) errors.emplace_back("prefix part must be non-empty");
    else
      for (const std::string& error : check_dns_subdomain(prefix)) errors.push_back("prefix part " + error);
  }
  if (name.empty()) errors.emplace_back("name part must be non-empty");
  else if (name.size() > 63) errors.push_back("name part " + too_long(63));
  if (!is_name_part(name)) errors.push_back("name part " + regex_error(kWhat, kParts, {"MyName", "my.name", "123-abc"}));
  return errors;
}

std::vector<std::string> check_label_value(std::string_view value) {
  std::vector<std::string> errors;
  if (value.size() > 63) errors.push_back(too_long(63));
  if (!value.empty() && !is_name_part(value)) {
    errors.push_back(
        regex_error("a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end "
                    "with an alphanumeric character",
                    "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?", {"MyValue", "my_value", "12345"}));
  }
  return errors;
}

std::vector<std::string> check_config_key(std::string_view value) {
  std::vector<std::string> errors;
  if (value.size() > 253) errors.push_back(too_long(253));
  if (value.empty() || !std::all_of(value.begin(), value.end(), [](char c) { return alnum(c) || c == '-' || c == '_' || c == '.'; })) {
    errors.push_back(regex_error("a valid config key must consist of alphanumeric characters, '-', '_' or '.'", "[-._a-zA-Z0-9]+",
                                 {"key.name", "KEY_NAME", "key-name"}));
  }
  if (value == ".") errors.emplace_back("must not be '.'");
  else if (value == "..") errors.emplace_back("must not be '..'");
  else if (value.starts_with("..")) errors.emplace_back("must not start with '..'");
  return errors;
}

std::vector<std::string> check_env_name(std::string_view value) {
  const bool fine = !value.empty() && std::all_of(value.begin(), value.end(), [](char c) { return c >= ' ' && c <= '~' && c != '='; });
  if (fine) return {};
  return {"a valid environment variable name must consist only of printable ASCII characters other than '='"};
}

}  // namespace

std::string regex_error(std::string_view what, std::string_view regex, const std::vector<std::string_view>& examples) {
  std::string text = fmt::format("{} (", what);
  for (std::size_t i = 0; i < examples.size(); ++i) text += fmt::format("{}'{}', ", i == 0 ? "e.g. " : " or ", examples[i]);
  return text + fmt::format("regex used for validation is '{}')", regex);
}

std::optional<net::Prefix> lenient_cidr(std::string_view text) {
  const auto prefix = net::Prefix::parse_masking(text);
  return prefix.ok() ? std::optional(*prefix) : std::nullopt;
}

std::vector<std::string> check_format(Format format, std::string_view value) {
  switch (format) {
    case Format::kNone:
      return {};
    case Format::kDnsLabel:
      return check_dns_label(value);
    case Format::kDnsSubdomain:
      return check_dns_subdomain(value);
    case Format::kDns1035Label:
      return check_dns1035_label(value);
    case Format::kPortName:
      return check_port_name(value);
    case Format::kQualifiedName:
      return check_qualified_name(value);
    case Format::kLabelValue:
      return check_label_value(value);
    case Format::kEnvName:
      return check_env_name(value);
    case Format::kConfigKey:
      return check_config_key(value);
    case Format::kIp:
      if (net::IpAddr::parse(value).ok()) return {};
      return {"must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"};
    case Format::kCidr:
      if (lenient_cidr(value)) return {};
      return {"must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"};
    case Format::kAbsolutePath:
      if (value.starts_with('/')) return {};
      return {"must be an absolute path"};
  }
  return {};
}

std::vector<std::string> check_wildcard_subdomain(std::string_view value) {
  if (value.starts_with("*.") && is_dns_subdomain(value.substr(2))) return {};
  return {
      regex_error("a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case "
                  "alphanumeric characters, '-' or '.' and end with an alphanumeric character",
                  "\\*\\." + std::string(kSubdomain), {"*.example.com"})};
}

std::vector<std::string> check_path_segment(std::string_view value) {
  if (value == "." || value == "..") return {fmt::format("may not be '{}'", value)};
  for (char c : {'/', '%'}) {
    if (value.find(c) != std::string_view::npos) return {fmt::format("may not contain '{}'", c)};
  }
  return {};
}

double quantity_value(std::string_view text) {
  const auto quantity = k8s::parse_quantity(text);
  return quantity ? quantity->value : 0;
}

// The largest suffix of the same family that leaves no fraction.
std::optional<std::string> canonical_quantity(std::string_view text) {
  const auto quantity = k8s::parse_quantity(text);
  if (!quantity) return std::nullopt;
  const double value = quantity->value;
  if (value == 0) return "0";
  if (std::fabs(value) >= 9e18) return std::string(text);
  const bool binary = quantity->suffix.ends_with('i') && std::fabs(value) >= 1024 && value == std::floor(value);
  auto exact = [&](double factor) {
    const double scaled = value / factor;
    return std::fabs(scaled - std::round(scaled)) < 1e-9 * std::max(1.0, std::fabs(scaled)) && std::fabs(std::round(scaled)) >= 1;
  };
  auto print = [&](double factor, std::string_view suffix) {
    return fmt::format("{}{}", static_cast<std::int64_t>(std::round(value / factor)), suffix);
  };
  if (binary) {
    for (std::string_view suffix : {"Ei", "Pi", "Ti", "Gi", "Mi", "Ki", ""}) {
      if (exact(*k8s::quantity_factor(suffix))) return print(*k8s::quantity_factor(suffix), suffix);
    }
  }
  for (std::string_view suffix : {"E", "P", "T", "G", "M", "k", "", "m", "u", "n"}) {
    if (exact(*k8s::quantity_factor(suffix))) return print(*k8s::quantity_factor(suffix), suffix);
  }
  return value > 0 ? "1n" : "-1n";  // upstream rounds up, away from zero
}

namespace {

bool read_digits(std::string_view text, std::size_t at, std::size_t count, int& into) {
  if (at + count > text.size()) return false;
  into = 0;
  for (std::size_t i = at; i < at + count; ++i) {
    if (!digit(text[i])) return false;
    into = into * 10 + (text[i] - '0');
  }
  return true;
}

}  // namespace

// 2006-01-02T15:04:05[.fraction](Z|+07:00)
std::optional<std::int64_t> parse_time(std::string_view text) {
  int year, month, day, hour, minute, second;
  if (text.size() < 20 || !read_digits(text, 0, 4, year) || text[4] != '-' || !read_digits(text, 5, 2, month) || text[7] != '-' ||
      !read_digits(text, 8, 2, day) || text[10] != 'T' || !read_digits(text, 11, 2, hour) || text[13] != ':' ||
      !read_digits(text, 14, 2, minute) || text[16] != ':' || !read_digits(text, 17, 2, second)) {
    return std::nullopt;
  }
  std::size_t at = 19;
  if (text[at] == '.') {
    for (++at; at < text.size() && digit(text[at]);) ++at;
  }
  int offset = 0;
  const std::string_view zone = text.substr(at);
  if (zone != "Z") {
    int zone_hour, zone_minute;
    if (zone.size() != 6 || (zone[0] != '+' && zone[0] != '-') || !read_digits(zone, 1, 2, zone_hour) || zone[3] != ':' ||
        !read_digits(zone, 4, 2, zone_minute))
      return std::nullopt;
    offset = (zone_hour * 3600 + zone_minute * 60) * (zone[0] == '-' ? -1 : 1);
  }
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok() || hour > 23 || minute > 59 || second > 59) return std::nullopt;
  return std::chrono::sys_days(date).time_since_epoch().count() * 86400LL + hour * 3600 + minute * 60 + second - offset;
}

bool is_rfc3339(std::string_view text) { return parse_time(text).has_value(); }

std::string format_time(std::int64_t unix_seconds) {
  const auto days = std::chrono::floor<std::chrono::days>(std::chrono::sys_seconds(std::chrono::seconds(unix_seconds)));
  const std::chrono::year_month_day date(days);
  const std::int64_t rest = unix_seconds - days.time_since_epoch().count() * 86400LL;
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                     static_cast<unsigned>(date.day()), rest / 3600, rest / 60 % 60, rest % 60);
}

std::string format_microtime(std::int64_t unix_seconds, std::int64_t micros) {
  std::string text = format_time(unix_seconds);
  text.pop_back();
  return fmt::format("{}.{:06}Z", text, micros);
}

std::int64_t now_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string now_text() { return format_time(now_seconds()); }

bool is_base64(std::string_view text) {
  std::size_t digits = 0, padding = 0;
  for (char c : text) {
    if (c == '\n' || c == '\r') continue;
    if (c == '=') ++padding;
    else if (padding > 0 || !(alnum(c) || c == '+' || c == '/')) return false;
    ++digits;
  }
  return digits % 4 == 0 && padding <= 2;
}

std::string base64_encode(std::string_view bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k) group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    for (std::size_t k = 0; k < 4; ++k) out += i + k <= bytes.size() ? kDigits[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

}  // namespace fairway::apiserver
