#include "policycheck/render.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

namespace fairway::policycheck {
namespace {

namespace bj = boost::json;

template <typename Visit>
void for_each_cell(const Check& check, const Selection& selection, Visit visit) {
  for (const End* from : selection.from)
    for (const End* to : selection.to) {
      if (from->kind != End::Kind::kWorkload && to->kind != End::Kind::kWorkload) continue;
      if (const Cell cell = check.between(*from, *to); !cell.some.empty()) visit(*from, *to, cell);
    }
}

}  // namespace

bj::object render_json(const Finding& finding) {
  bj::object out{{"severity", to_string(finding.severity)}, {"id", finding.id}, {"object", finding.object}, {"message", finding.message}};
  if (!finding.field.empty()) out["field"] = finding.field;
  if (!finding.advice.empty()) out["advice"] = finding.advice;
  if (!finding.at.file.empty()) out["file"] = finding.at.file;
  if (finding.at.line != 0) out["line"] = finding.at.line;
  return out;
}

bj::object render_json(const Check& check, const Selection& selection, const std::vector<Finding>& findings) {
  bj::array workloads, connections, told, notes;
  for (const End& end : check.ends()) {
    if (end.kind != End::Kind::kWorkload) continue;
    const Workload& workload = check.workload(end);
    workloads.push_back(bj::object{{"name", end.name}, {"kind", workload.kind}, {"pods", workload.pods.size()}});
  }
  for_each_cell(check, selection, [&](const End& from, const End& to, const Cell& cell) {
    connections.push_back(bj::object{{"from", from.name}, {"to", to.name}, {"ports", cell.some.to_string()}, {"partly", !cell.uniform()}});
  });
  for (const Finding& finding : findings) told.push_back(render_json(finding));
  for (const auto& note : check.inventory().notes) notes.push_back(bj::value(note));
  const auto sizes = check.reachability().sizes();
  return {{"workloads", std::move(workloads)},
          {"connections", std::move(connections)},
          {"findings", std::move(told)},
          {"notes", std::move(notes)},
          {"sizes", bj::object{{"pods", check.inventory().state.pods.size()},
                               {"policies", check.inventory().state.policies.size()},
                               {"groups", sizes.groups},
                               {"subjects", sizes.subjects}}}};
}

std::size_t cells(std::size_t from_workloads, std::size_t from_others, std::size_t to_workloads, std::size_t to_others) {
  return (from_workloads + from_others) * (to_workloads + to_others) - from_others * to_others;
}
std::size_t cells(const Selection& selection) {
  const auto workloads = [](const std::vector<const End*>& ends) {
    return static_cast<std::size_t>(std::count_if(ends.begin(), ends.end(), [](const End* e) { return e->kind == End::Kind::kWorkload; }));
  };
  const std::size_t from = workloads(selection.from), to = workloads(selection.to);
  return cells(from, selection.from.size() - from, to, selection.to.size() - to);
}
Status check_cells(std::size_t count, std::size_t most, const std::string& advice) {
  if (count <= most) return {};
  return make_error(Code::kExhausted, fmt::format("there are {} pairs of ends, more than {}: {}", count, most, advice));
}

std::string escaped_dot(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out;
}

std::string render_dot(const Check& check, const Selection& selection) {
  std::string out =
      "digraph policy {\n  rankdir=LR;\n  node [shape=box, style=\"rounded,filled\", fillcolor=\"#eef3f8\", fontname=\"sans-serif\"];\n";
  const auto node = [](const std::string& name) { return "\"" + escaped_dot(name) + "\""; };
  std::vector<const End*> shown = selection.from;
  for (const End* end : selection.to)
    if (std::find(shown.begin(), shown.end(), end) == shown.end()) shown.push_back(end);
  for (const End* end : shown)
    out += "  " + node(end->name) + (end->kind == End::Kind::kWorkload ? "" : " [fillcolor=\"#f6f0e2\", shape=ellipse]") + ";\n";
  for_each_cell(check, selection, [&](const End& from, const End& to, const Cell& cell) {
    if (&from != &to) out += "  " + node(from.name) + " -> " + node(to.name) + " [label=\"" + escaped_dot(cell.to_string()) + "\"];\n";
  });
  return out + "}\n";
}

}  // namespace fairway::policycheck
