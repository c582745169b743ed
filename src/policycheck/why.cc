#include "policycheck/why.h"

#include <algorithm>
#include <boost/json.hpp>

namespace fairway::policycheck {
namespace {

void add(const Check& check, Connection connection, const PortSet& ports, std::vector<Answer>& out) {
  if (ports.empty()) return;
  connection.port = some_port(ports);
  Answer answer{connection, ports, check.parties()[connection.source].addr.is_v4(), false, check.why(connection)};
  answer.v6 = !answer.v4;
  const auto same = [&](const Answer& known) {
    return known.reason.egress.allowed == answer.reason.egress.allowed && known.reason.ingress.allowed == answer.reason.ingress.allowed &&
           known.reason.egress.decided_by == answer.reason.egress.decided_by &&
           known.reason.ingress.decided_by == answer.reason.ingress.decided_by && known.ports == ports;
  };
  const auto known = std::find_if(out.begin(), out.end(), same);
  if (known == out.end()) return out.push_back(std::move(answer));
  known->v4 |= answer.v4;
  known->v6 |= answer.v6;
}

boost::json::object json_of(const Side& side) {
  boost::json::object out{{"allowed", side.allowed}, {"by", side.decided_by}};
  if (!side.at.file.empty()) out["file"] = side.at.file;
  if (side.at.line != 0) out["line"] = side.at.line;
  return out;
}

}  // namespace

std::vector<Answer> why(const Check& check, const End& from, const End& to, const PortSet& asked) {
  std::vector<Answer> out;
  for (const PartyId source : from.parties)
    for (const PartyId destination : to.parties) {
      if (check.parties()[source].addr.family() != check.parties()[destination].addr.family()) continue;
      const Connection connection{&from, &to, source, destination, {}};
      const PortSet passing = check.passing(connection);
      add(check, connection, asked & passing, out);
      add(check, connection, asked - passing, out);
    }
  std::stable_sort(out.begin(), out.end(), [](const Answer& a, const Answer& b) { return a.reason.allowed() > b.reason.allowed(); });
  return out;
}

boost::json::object render_json(const std::vector<Answer>& answers) {
  PortSet asked;
  boost::json::array list;
  for (const Answer& answer : answers) {
    asked = asked | answer.ports;
    boost::json::array families;
    if (answer.v4) families.emplace_back("IPv4");
    if (answer.v6) families.emplace_back("IPv6");
    list.push_back(boost::json::object{{"families", std::move(families)},
                                       {"ports", answer.ports.to_string()},
                                       {"passes", answer.reason.allowed()},
                                       {"egress", json_of(answer.reason.egress)},
                                       {"ingress", json_of(answer.reason.ingress)}});
  }
  const Connection& one = answers.front().connection;
  const bool some = answers.front().reason.allowed(), all = answers.back().reason.allowed();
  return {{"from", one.from->name},
          {"to", one.to->name},
          {"ports", asked.to_string()},
          {"passes", all    ? "yes"
                     : some ? "partly"
                            : "no"},
          {"answers", std::move(list)}};
}

}  // namespace fairway::policycheck
