// fairway policy check, fairway policy diff: what policies do, from manifests alone or from a cluster, before they are applied.
#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <iostream>
#include <memory>

#include "cli/app.h"
#include "cli/foreign_text.h"
#include "cli/policy_input.h"
#include "cli/policy_text.h"
#include "policycheck/asked.h"
#include "policycheck/assertions.h"
#include "policycheck/compare.h"
#include "policycheck/lint.h"
#include "policycheck/render.h"
#include "policycheck/why.h"
#include "sys/file.h"

namespace fairway::cli {
namespace json = boost::json;
using namespace policycheck;
namespace {

constexpr int kFails = 1, kBroken = 2;

int broken(const Error& error) {
  fail(make_error(error.code, escaped_text(error.message)));
  return kBroken;
}

int broken(const std::vector<Fault>& faults) {
  for (const auto& fault : faults) std::cerr << escaped_text(fault.to_string()) << "\n";
  return kBroken;
}

struct CheckOptions {
  PolicyInput input;
  std::string output, from = "*", to = "*", assertions, fail_on = "error";
  std::vector<std::string> paths, why;
  bool all = false;  // names, where the matrix is a list
};

Result<int> run_why(const Check& check, const CheckOptions& o) {
  if (!o.assertions.empty() || (!o.output.empty() && o.output != "json") || o.from != "*" || o.to != "*")
    return make_error(Code::kInvalid,
                      "--why asks one question, answered as text or JSON: it goes with none of --assert, -o dot, -o svg, --from, --to");
  FW_ASSIGN(const auto from, ends_named(check, o.why[0], o.input.ns));
  FW_ASSIGN(const Asked asked, parse_destination(check, o.why[1], o.input.ns));
  if (o.output.empty() && !asked.note.empty()) std::cout << escaped_text(asked.note) << "\n";
  bool all = true;
  json::array told;
  for (const End* source : from)
    for (const End* destination : asked.ends) {
      const auto answers = why(check, *source, *destination, asked.ports);
      if (answers.empty())
        return make_error(Code::kInvalid, "--why: " + source->name + " and " + destination->name + " have no address family in common");
      if (o.output.empty()) std::cout << why_text(answers);
      else told.push_back(render_json(answers));
      all &= answers.back().reason.allowed();
    }
  json::object out{{"connections", std::move(told)}};
  if (!asked.note.empty()) out["asked"] = asked.note;
  if (!o.output.empty()) std::cout << json::serialize(out) << "\n";
  return all ? 0 : kFails;
}

Severity fail_level(const std::string& word) { return word == "warning" ? Severity::kWarning : Severity::kError; }

Result<int> run_check(const CheckOptions& o) {
  if (o.paths.empty() && !o.input.live) return make_error(Code::kInvalid, "name a folder or file of manifests, - or --live");
  Manifests manifests;
  if (o.input.live) { FW_ASSIGN(manifests, read_cluster(o.input)); }
  FW_ASSIGN(auto files, read_manifests(o.input, o.paths));
  FW_ASSIGN(const auto check, make_check(o.input, applied_over(std::move(manifests), std::move(files))));
  if (!check) return kBroken;
  if (!o.why.empty()) return run_why(*check, o);
  Selection selection;
  FW_ASSIGN(selection.from, ends_named(*check, o.from, o.input.ns));
  FW_ASSIGN(selection.to, ends_named(*check, o.to, o.input.ns));
  if (!o.output.empty() || o.all) FW_TRY(check_cells(cells(selection), kMaxShownCells, "narrow them with --from and --to"));
  const auto findings = lint(*check);
  std::vector<Outcome> outcomes;
  if (!o.assertions.empty()) {
    FW_ASSIGN(const std::string text, sys::read_file(o.assertions, kMaxAssertionBytes));
    auto assertions = parse_assertions(o.assertions, text, o.input.ns);
    for (const auto& assertion : assertions.list) {
      auto outcome = judge(*check, assertion);
      if (outcome.ok()) outcomes.push_back(std::move(*outcome));
      else assertions.faults.push_back({assertion.at, "", "", outcome.error().message});
    }
    if (!assertions.faults.empty()) return broken(assertions.faults);
  }
  if (o.output == "json") {
    auto out = render_json(*check, selection, findings);
    if (!o.assertions.empty()) out["assertions"] = render_json(outcomes);
    std::cout << json::serialize(out) << "\n";
  } else if (o.output == "dot") {
    std::cout << render_dot(*check, selection);
  } else if (o.output == "svg") {
    std::cout << render_svg(*check, selection, o.paths.empty() ? "the cluster" : o.paths.front());
  } else {
    std::cout << check_text(*check, selection, findings, outcomes, o.all);
  }
  const bool found = o.fail_on != "none" &&
                     std::any_of(findings.begin(), findings.end(), [&](const Finding& f) { return f.severity >= fail_level(o.fail_on); });
  const bool failed = std::any_of(outcomes.begin(), outcomes.end(), [](const Outcome& one) { return !one.holds; });
  return found || failed ? kFails : 0;
}

struct DiffOptions {
  PolicyInput input;
  bool apply = false;  // NEW over OLD
  std::string output, flows, from = "*", to = "*";
  std::vector<std::string> paths;
};

// A name may be one side's alone, as what has it is new or gone.
Status select_both(const Check& before, const Check& after, const std::string& pattern, const std::string& ns,
                   std::vector<const End*>& old_ends, std::vector<const End*>& new_ends) {
  auto in_old = ends_named(before, pattern, ns), in_new = ends_named(after, pattern, ns);
  if (!in_old.ok() && !in_new.ok()) return std::move(in_new).error();
  if (in_old.ok()) old_ends = std::move(*in_old);
  if (in_new.ok()) new_ends = std::move(*in_new);
  return {};
}

Result<int> run_diff(const DiffOptions& o) {
  if (o.paths.size() != (o.input.live ? 1U : 2U))
    return make_error(Code::kInvalid, o.input.live ? "with --live name NEW alone" : "name OLD and NEW: fairway policy diff OLD NEW");
  Manifests old_manifests;
  if (o.input.live) {
    FW_ASSIGN(old_manifests, read_cluster(o.input));
  } else {
    FW_ASSIGN(old_manifests, read_manifests(o.input, {o.paths.front()}));
  }
  FW_ASSIGN(Manifests new_manifests, read_manifests(o.input, {o.paths.back()}));
  if (o.input.live || o.apply) new_manifests = applied_over(old_manifests, std::move(new_manifests));
  FW_ASSIGN(const Checks checks, make_checks(o.input, std::move(old_manifests), std::move(new_manifests)));
  const auto &before = checks.before, &after = checks.after;
  if (!before || !after) return kBroken;
  Compared compared;
  FW_TRY(select_both(*before, *after, o.from, o.input.ns, compared.before.from, compared.after.from));
  FW_TRY(select_both(*before, *after, o.to, o.input.ns, compared.before.to, compared.after.to));
  FW_ASSIGN(const Difference difference, compare(*before, *after, compared));
  std::vector<Finding> errors = after->inventory().findings;
  std::erase_if(errors, [](const Finding& f) { return f.severity != Severity::kError; });
  std::vector<Replayed> replayed;
  if (!o.flows.empty()) {
    FW_ASSIGN(const std::string text, sys::read_file(o.flows, kMaxFlowBytes));
    auto flows = parse_flows(o.flows, text);
    if (!flows.faults.empty()) return broken(flows.faults);
    replayed = replay(*before, *after, flows.list, o.input.ns);
  }
  if (o.output == "json") std::cout << json::serialize(render_json(difference, errors, replayed)) << "\n";
  else std::cout << diff_text(difference, errors, replayed, !o.flows.empty());
  const bool cut = std::any_of(replayed.begin(), replayed.end(), [](const Replayed& one) { return one.cut(); });
  return cut || !errors.empty() ? kFails : 0;
}

void add_input(CLI::App* command, PolicyInput& input) {
  command->add_flag("--live", input.live, "The objects of a cluster (KUBECONFIG, else the running lab); manifests are applied over them");
  command->add_option("--kubeconfig", input.kubeconfig, "Path of the kubeconfig for --live");
  command->add_option("-n,--namespace", input.ns, "Namespace of manifests and names that give none")->default_val("default");
  command
      ->add_option("--pod-range", input.pod_ranges,
                   "Network of pods that have no address yet, one a family, by commas: 10.244.0.0/16, and fd00:10:244::/56 where the "
                   "manifests are of IPv6 too")
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_option("--service-range", input.service_ranges, "Networks of Services, by commas: no address in them is the outside's")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str();
}

void add_check(CLI::App& policy, Exit& exit) {
  auto o = std::make_shared<CheckOptions>();
  auto* check = policy.add_subcommand("check", "Who may reach whom, what looks wrong, and whether what you assert holds");
  check->add_option("paths", o->paths, "Folders and files of manifests, - for standard input");
  add_input(check, o->input);
  check->add_option("--from", o->from, "Only these sources: NAME, NAMESPACE/NAME, {label=value}, CIDR, outside, nodes, *");
  check->add_option("--to", o->to, "Only these destinations");
  check->add_option("--why", o->why, "SRC DST[:PORT[/PROTOCOL]]: which policy and rule decides, at both ends; DST may be a Service")
      ->expected(2);
  check->add_option("--assert", o->assertions, "File of assertions: allow SRC -> DST[:PORT], deny SRC -> DST[:PORT]");
  check->add_option("--fail-on", o->fail_on, "Exit with 1 on findings from this level: warning, error, none")
      ->check(CLI::IsMember({"warning", "error", "none"}))
      ->default_val("error");
  check->add_option("-o,--output", o->output, "json, dot or svg; for --why json")->check(CLI::IsMember({"json", "dot", "svg"}));
  check->add_flag("--all", o->all, "Name every source where the matrix is too large for a table: a line each");
  check->footer(
      "Examples:\n  fairway policy check examples/scenario\n  fairway policy check k8s/ --why frontend backend:80\n"
      "  fairway policy check k8s/ --why frontend backend:80 -o json\n"
      "  fairway policy check k8s/ --to shop/db --all\n"
      "  fairway policy check k8s/ --assert policy.assert --fail-on warning\n  fairway policy check --live --to shop/db\n"
      "  fairway policy check k8s/ -o svg > policy.svg\n"
      "Exit: 0 all is well; 1 an assertion fails, or there are findings (--fail-on); 2 manifests are broken.");
  check->callback([o, &exit] {
    const auto code = run_check(*o);
    exit.code = code.ok() ? *code : broken(code.error());
  });
}

}  // namespace

void add_policy_commands(CLI::App& app, Exit& exit) {
  auto* policy = app.add_subcommand("policy", "NetworkPolicies before they are applied: check, diff");
  policy->require_subcommand(1);
  policy->footer("Examples:\n  fairway policy check examples/scenario\n  fairway policy diff old/ new/");
  add_check(*policy, exit);
  auto o = std::make_shared<DiffOptions>();
  auto* diff = policy->add_subcommand("diff", "Which connections a change of manifests opens and closes");
  diff->add_option("paths", o->paths, "OLD and NEW; with --live NEW alone, applied over the cluster");
  add_input(diff, o->input);
  diff->add_flag("--apply", o->apply, "NEW is a part that is applied over OLD, as it always is with --live");
  diff->add_option("--flows", o->flows,
                   "Recorded flows, a line of JSON each: src, dst, port, protocol, count; those that NEW cuts are listed");
  diff->add_option("--from", o->from, "Only these sources, as policy check has them; --flows is replayed as a whole");
  diff->add_option("--to", o->to, "Only these destinations");
  diff->add_option("-o,--output", o->output, "json")->check(CLI::IsMember({"json"}));
  diff->footer(
      "Examples:\n  fairway policy diff old/ new/\n  fairway policy diff old/ new/ --from '*' --to shop/db\n  fairway policy diff "
      "examples/shop examples/shop-next/db.yaml --apply\n  fairway "
      "policy diff --live new-policy.yaml --flows flows.jsonl\n"
      "Exit: 0; 1 NEW cuts a flow of --flows, or has parts that cannot be read; 2 manifests are broken.");
  diff->callback([o, &exit] {
    const auto code = run_diff(*o);
    exit.code = code.ok() ? *code : broken(code.error());
  });
}

}  // namespace fairway::cli
