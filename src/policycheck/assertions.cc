#include "policycheck/assertions.h"

#include <boost/json.hpp>

#include "policycheck/asked.h"

namespace fairway::policycheck {
namespace {

constexpr std::string_view kBlank = " \t\r";

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> out;
  while (true) {
    const auto begin = line.find_first_not_of(kBlank);
    if (begin == std::string_view::npos) return out;
    line.remove_prefix(begin);
    const auto end = std::min(line.find_first_of(kBlank), line.size());
    out.push_back(line.substr(0, end));
    line.remove_prefix(end);
  }
}

Result<Assertion> parse_line(std::string_view line, const std::string& default_namespace) {
  const auto words = words_of(line);
  if (words.size() != 4 || words[2] != "->" || (words[0] != "allow" && words[0] != "deny"))
    return make_error(Code::kInvalid, "is not \"allow SOURCE -> DESTINATION[:PORT]\" or \"deny …\"");
  Assertion out;
  out.allow = words[0] == "allow";
  for (const auto word : words) out.text += (out.text.empty() ? "" : " ") + std::string(word);
  FW_ASSIGN(out.from, Pattern::parse(words[1], default_namespace));
  if (is_service(words[3])) {
    out.service = words[3];
    out.default_namespace = default_namespace;
    return out;
  }
  const auto [name, port] = split_port(words[3]);
  FW_ASSIGN(out.to, Pattern::parse(name, default_namespace));
  if (!port.empty()) { FW_ASSIGN(out.ports, parse_ports(port)); }
  return out;
}

// What is behind the Service, one end after the other.
Result<Outcome> judge_service(const Check& check, const Assertion& assertion) {
  Outcome out{assertion.at, assertion.text, true, ""};
  const auto asked = parse_destination(check, assertion.service, assertion.default_namespace);
  if (!asked.ok()) {
    out.holds = false;  // a name that is written wrong must not pass
    out.reason = asked.error().message;
    return out;
  }
  Assertion behind = assertion;
  behind.service.clear();
  behind.ports = asked->ports;
  for (const End* end : asked->ends) {
    FW_ASSIGN(behind.to, Pattern::parse(end->name, assertion.default_namespace));
    FW_ASSIGN(out, judge(check, behind));
    if (!out.holds) return out;
  }
  return out;
}

// The ports on which the assertion does not hold for a pair.
PortSet wrong_ports(const Assertion& assertion, const PortSet& passing) {
  if (!assertion.allow) return assertion.ports ? passing & *assertion.ports : passing;
  if (assertion.ports) return *assertion.ports - passing;
  return passing.empty() ? PortSet::all() : PortSet{};
}

}  // namespace

Assertions parse_assertions(const std::string& file, std::string_view text, const std::string& default_namespace) {
  Assertions out;
  if (text.size() > kMaxAssertionBytes) {
    out.faults.push_back({{file, 0}, "", "", "has more than 1 MiB"});
    return out;
  }
  for (std::size_t number = 1; !text.empty(); ++number) {
    const auto end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    line = line.substr(0, line.find('#'));
    if (line.find_first_not_of(kBlank) == std::string_view::npos) continue;
    auto parsed = parse_line(line, default_namespace);
    if (!parsed.ok()) {
      out.faults.push_back({{file, number}, "", "", parsed.error().message});
      continue;
    }
    parsed->at = {file, number};
    out.list.push_back(std::move(*parsed));
  }
  if (out.list.empty() && out.faults.empty()) out.faults.push_back({{file, 0}, "", "", "has no assertion"});
  return out;
}

Result<Outcome> judge(const Check& check, const Assertion& assertion) {
  Outcome out{assertion.at, assertion.text, true, ""};
  if (!assertion.service.empty()) return judge_service(check, assertion);
  FW_ASSIGN(const auto sources, assertion.from.ends(check));
  FW_ASSIGN(const auto destinations, assertion.to.ends(check));
  if (sources.empty() || destinations.empty()) {
    out.holds = false;  // a name that is written wrong must not pass
    const std::string& name = (sources.empty() ? assertion.from : assertion.to).text();
    out.reason = "\"" + name + "\" is nobody here" + hint_of(check, name, "");
    return out;
  }
  const bool itself_too = assertion.from.exact() && assertion.to.exact();
  for (const End* from : sources)
    for (const End* to : destinations) {
      if ((from == to && !itself_too) || (from->kind != End::Kind::kWorkload && to->kind != End::Kind::kWorkload)) continue;
      for (const PartyId source : from->parties)
        for (const PartyId destination : to->parties) {
          if (check.parties()[source].addr.family() != check.parties()[destination].addr.family()) continue;
          Connection connection{from, to, source, destination, {}};
          const PortSet wrong = wrong_ports(assertion, check.passing(connection));
          if (wrong.empty()) continue;
          connection.port = some_port(wrong);
          out.holds = false;
          out.reason = connection.to_string() + (assertion.allow ? " does not pass: " : " passes: ") + check.why(connection).to_string();
          return out;
        }
    }
  return out;
}

boost::json::array render_json(const std::vector<Outcome>& outcomes) {
  boost::json::array out;
  for (const Outcome& one : outcomes)
    out.push_back(boost::json::object{
        {"file", one.at.file}, {"line", one.at.line}, {"assertion", one.text}, {"holds", one.holds}, {"reason", one.reason}});
  return out;
}

}  // namespace fairway::policycheck
