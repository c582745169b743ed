#include "cli/policy_text.h"

#include <algorithm>
#include <map>

#include "cli/foreign_text.h"
#include "cli/text_table.h"

namespace fairway::cli {
using namespace policycheck;
namespace {

constexpr std::size_t kMatrixColumns = 8, kMatrixRows = 40;  // more than these do not fit a terminal
constexpr std::size_t kNamesInLine = 4;
constexpr std::size_t kCutFlows = 50;

std::string counted(std::size_t n, const std::string& one, const std::string& many) {
  return std::to_string(n) + " " + (n == 1 ? one : many);
}
bool shown(const End& from, const End& to) { return from.kind == End::Kind::kWorkload || to.kind == End::Kind::kWorkload; }
std::string coloured(const Cell& cell) {
  const std::string text = cell.some.empty() ? "-" : cell.to_string();
  return cell.some.empty() ? red(text) : cell.some.is_all() ? green(text) : text;
}

std::string matrix(const Check& check, const Selection& selection) {
  std::vector<std::string> header{"FROM \\ TO"};
  for (const End* to : selection.to) header.push_back(escaped_text(to->name));
  TextTable table(std::move(header));
  for (const End* from : selection.from) {
    std::vector<std::string> row{escaped_text(from->name)};
    for (const End* to : selection.to) row.push_back(shown(*from, *to) ? coloured(check.between(*from, *to)) : "");
    table.add(std::move(row));
  }
  return table.render();
}

// The first of the names, all of them by their number alone, or a line for each.
std::vector<std::string> told_in_lines(std::vector<std::string> names, std::size_t asked, bool all) {
  if (all) return names;
  if (names.size() == asked) return {"all " + std::to_string(asked)};
  std::string told;
  for (std::size_t i = 0; i < std::min(names.size(), kNamesInLine); ++i) told += (i > 0 ? ", " : "") + names[i];
  if (names.size() > kNamesInLine)
    told += " and " + std::to_string(names.size() - kNamesInLine) + " more of " + std::to_string(asked) + " (--all names them)";
  return {told};
}

// One line a destination and set of ports, or one a source: who has it.
std::string list(const Check& check, const Selection& selection, bool all) {
  TextTable table({"TO", "PORTS", "FROM"});
  for (const End* to : selection.to) {
    std::map<std::string, std::vector<std::string>> sources;
    std::size_t asked = 0;
    for (const End* from : selection.from) {
      if (!shown(*from, *to)) continue;
      ++asked;
      if (const Cell cell = check.between(*from, *to); !cell.some.empty()) sources[cell.to_string()].push_back(escaped_text(from->name));
    }
    if (sources.empty() && asked > 0) table.add({escaped_text(to->name), red("-"), "nobody"});
    for (auto& [ports, names] : sources)
      for (auto& told : told_in_lines(std::move(names), asked, all))
        table.add({escaped_text(to->name), ports == "all" ? green(ports) : ports, std::move(told)});
  }
  return table.render();
}

std::string findings_text(const std::vector<Finding>& findings) {
  std::string out;
  for (const Finding& f : findings) {
    const std::string level(to_string(f.severity));
    out += (f.severity == Severity::kError ? red(level) : bold(level)) + " " + f.id + "  " +
           escaped_text(f.object + (f.field.empty() ? "" : " " + f.field) + ": " + f.message) + "\n";
    if (!f.at.file.empty()) out += "    at " + escaped_text(f.at.to_string()) + "\n";
    if (!f.advice.empty()) out += "    " + escaped_text(f.advice) + "\n";
  }
  return out;
}

std::string outcomes_text(const std::vector<Outcome>& outcomes) {
  std::string out;
  std::size_t failed = 0;
  for (const Outcome& one : outcomes) {
    if (one.holds) continue;
    ++failed;
    out +=
        escaped_text(one.at.to_string()) + ": " + red("fails") + ": " + escaped_text(one.text) + "\n    " + escaped_text(one.reason) + "\n";
  }
  return out + counted(outcomes.size(), "assertion", "assertions") + ", " + std::to_string(failed) + " failed\n";
}

}  // namespace

std::string check_text(const Check& check, const Selection& selection, const std::vector<Finding>& findings,
                       const std::vector<Outcome>& outcomes, bool all) {
  const bool fits = selection.to.size() <= kMatrixColumns && selection.from.size() <= kMatrixRows;
  std::string out = fits ? matrix(check, selection) : list(check, selection, all);
  bool partly = out.find('~') != std::string::npos;
  if (partly) out += "~ not for all of the pods or addresses\n";
  out += "\n";
  if (!findings.empty()) out += findings_text(findings) + "\n";
  for (const auto& note : check.inventory().notes) out += "note: " + escaped_text(note) + "\n";
  if (!outcomes.empty()) out += outcomes_text(outcomes);
  std::size_t workloads = 0;
  for (const End& end : check.ends()) workloads += end.kind == End::Kind::kWorkload ? 1 : 0;
  const auto& inventory = check.inventory();
  out += counted(workloads, "workload", "workloads") + ", " + counted(inventory.state.policies.size(), "policy", "policies") + ", " +
         counted(inventory.services.size(), "Service", "Services") + ", " + counted(findings.size(), "finding", "findings");
  if (inventory.skipped > 0) out += "; " + counted(inventory.skipped, "object", "objects") + " of other kinds passed over";
  return out + "\n";
}

namespace {

std::string answer_text(const Answer& answer, bool only) {
  const Connection& connection = answer.connection;
  std::string out;
  if (!only)
    out = "  " +
          std::string(answer.v4 && answer.v6 ? "IPv4 and IPv6"
                      : answer.v4            ? "IPv4"
                                             : "IPv6") +
          ", port " + answer.ports.to_string() + ": " + (answer.reason.allowed() ? green("passes") : red("is denied")) + "\n";
  TextTable table({"", "VERDICT", "BY", "AT"});
  const auto row = [&](const std::string& what, const Side& side) {
    table.add({escaped_text(what), side.allowed ? green("allowed") : red("denied"), escaped_text(side.decided_by),
               side.at.file.empty() ? "" : escaped_text(side.at.to_string())});
  };
  row("egress of " + connection.from->name, answer.reason.egress);
  row("ingress of " + connection.to->name, answer.reason.ingress);
  return out + table.render();
}

}  // namespace

std::string why_text(const std::vector<Answer>& answers) {
  PortSet asked;
  for (const Answer& answer : answers) asked = asked | answer.ports;
  const Connection& one = answers.front().connection;
  const bool some = answers.front().reason.allowed(), all = answers.back().reason.allowed();
  std::string out = bold(escaped_text(one.from->name + " -> " + one.to->name + ":" + asked.to_string())) + "   " +
                    (all    ? green("passes")
                     : some ? red("passes partly")
                            : red("is denied")) +
                    "\n";
  for (const Answer& answer : answers) out += answer_text(answer, answers.size() == 1);
  return out;
}

std::string diff_text(const Difference& difference, const std::vector<Finding>& errors, const std::vector<Replayed>& replayed,
                      bool with_flows) {
  std::string out;
  if (!difference.changes.empty()) {
    TextTable table({"FROM", "TO", "OPENED", "CLOSED"});
    for (const Change& change : difference.changes)
      table.add({escaped_text(change.from), escaped_text(change.to), change.opened.empty() ? "" : green(change.opened.to_string()),
                 change.closed.empty() ? "" : red(change.closed.to_string())});
    out += table.render();
  }
  for (const auto& name : difference.added) out += "added: " + escaped_text(name) + "\n";
  for (const auto& name : difference.removed) out += "removed: " + escaped_text(name) + "\n";
  const auto count = [&](auto has) {
    return static_cast<std::size_t>(std::count_if(difference.changes.begin(), difference.changes.end(), has));
  };
  out += counted(count([](const Change& c) { return !c.opened.empty(); }), "pair", "pairs") + " opened, " +
         std::to_string(count([](const Change& c) { return !c.closed.empty(); })) + " closed\n" + findings_text(errors);
  if (!with_flows) return out;
  std::size_t numbers[4] = {}, told = 0;
  std::uint64_t cut = 0;
  for (const Replayed& one : replayed) {
    ++numbers[static_cast<int>(one.result)];
    if (one.cut()) cut += one.flow.count;
    if ((one.cut() || one.result == Replayed::Result::kUnknown) && told++ < kCutFlows)
      out += escaped_text(one.flow.at.to_string()) + ": " + (one.cut() ? red("cut") : "unknown") + ": " +
             escaped_text(one.flow.to_string()) + " (" + counted(one.flow.count, "connection", "connections") + ")\n    " +
             escaped_text(one.reason) + "\n";
  }
  if (told > kCutFlows) out += "… and " + std::to_string(told - kCutFlows) + " more\n";
  return out + counted(replayed.size(), "flow", "flows") + ": " + std::to_string(numbers[0]) + " pass, " + std::to_string(numbers[1]) +
         " cut (" + counted(cut, "connection", "connections") + "), " + std::to_string(numbers[2]) + " denied before too, " +
         std::to_string(numbers[3]) + " unknown\n";
}

}  // namespace fairway::cli
