// policy_compute: objects to rows in the shapes in which others publish it; policy_rows: how many rows a node holds.
#include <fmt/format.h>
#include <malloc.h>

#include <cstring>
#include <fstream>
#include <set>

#include "compile/policy/engine.h"
#include "core/child.h"
#include "core/cpu.h"
#include "core/harness.h"
#include "core/stats.h"
#include "policy_objects.h"

namespace fairway::bench {

namespace {

using compile::policy::Engine;

constexpr double kMebi = 1024 * 1024;

struct Objects {
  std::vector<model::Namespace> namespaces;
  std::vector<model::Policy> policies;
  std::vector<model::Pod> pods;
};

// Three policies and four pods in each namespace.
Objects many_namespaces(unsigned namespaces) {
  Objects out;
  for (unsigned i = 0; i < namespaces; ++i) {
    const std::string ns = fmt::format("namespace-{}", i);
    out.namespaces.push_back({ns, {{"kubernetes.io/metadata.name", ns}}, false});
    out.policies.push_back(policy(ns, "default-deny", {}));
    for (const auto* app : {"app-1", "app-2"}) {
      out.policies.push_back(policy(ns, app, with_label("app", app)));
      out.policies.back().ingress = {from_pods({std::nullopt, with_label("app", app)})};
      for (int twice = 0; twice < 2; ++twice)
        out.pods.push_back(pod(ns, static_cast<unsigned>(out.pods.size()), {{"app", app}, {"pod-template-hash", "5d8f9c7b6d"}}));
    }
  }
  return out;
}

// Each policy selects every pod, as subject and as peer; or one pod of its own and the next one as peer.
Objects one_namespace(unsigned count, bool all) {
  Objects out;
  out.namespaces.push_back({"one", {{"kubernetes.io/metadata.name", "one"}}, false});
  for (unsigned i = 0; i < count; ++i) {
    const auto mine = fmt::format("scale-{}", i), next = fmt::format("scale-{}", (i + 1) % count);
    out.policies.push_back(policy("one", fmt::format("policy-{}", i), all ? with_label("app", "scale") : with_label("own", mine)));
    out.policies.back().ingress = {from_pods({std::nullopt, all ? with_label("app", "scale") : with_label("own", next)})};
    out.pods.push_back(pod("one", i, {{"app", "scale"}, {"own", mine}}));
  }
  return out;
}

// Seconds from the first object to the Delta, and by how much memory grew at most; every pod is local.
Result<Child::Numbers> compute(const Objects& objects) {
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";  // the peak begins anew
  const double before = memory_bytes("VmRSS:");
  const auto begin = std::chrono::steady_clock::now();
  Engine engine;
  for (const auto& row : objects.namespaces) engine.set_namespace(row);
  for (const auto& row : objects.policies) engine.set_policy(row);
  std::uint32_t ifindex = 0;
  for (const auto& row : objects.pods) {
    engine.set_pod(row);
    engine.add_local(++ifindex, row.id, Engine::Unknown::kClosed);
  }
  const auto delta = engine.compile();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  if (delta.subjects.size() != objects.pods.size()) return make_error(Code::kInternal, "policy_compute: a pod has no subject");
  return Child::Numbers{took.count(), memory_bytes("VmHWM:") - before, static_cast<double>(delta.verdicts.size())};
}

Status run_compute(Context& context, std::vector<Row>& rows) {
  const unsigned scale = context.options.quick ? 100 : 1;
  struct Shape {
    std::string name;
    Objects objects;
  };
  const std::vector<Shape> shapes = {{"policy_compute_75k_100k", many_namespaces(25'000 / scale)},
                                     {"policy_compute_10k_10k_all", one_namespace(10'000 / scale, true)},
                                     {"policy_compute_10k_10k_each", one_namespace(10'000 / scale, false)}};
  for (const auto& shape : shapes) {
    context.progress(shape.name);
    std::vector<double> seconds;
    Child::Numbers last;
    for (int round = 0; round < 5; ++round) {
      FW_ASSIGN(Child child, Child::start({.cpu = context.options.one_cpu}, [&] { return compute(shape.objects); }));
      FW_ASSIGN(last, child.wait());
      seconds.push_back(last.at(0));
    }
    Row row{.name = shape.name, .ours = median(seconds), .unit = "s", .goal = Goal::at_most_value(1)};
    row.note = fmt::format("{} policies, {} pods, all local; {:.0f} verdict rows", shape.objects.policies.size(), shape.objects.pods.size(),
                           last.at(2));
    rows.push_back(row);
    rows.push_back({.name = shape.name + "_mem", .ours = last.at(1) / kMebi, .unit = "MiB", .goal = Goal::at_most_value(300)});
  }
  return {};
}

// 500 namespaces of ten teams; a node with 100 of the cluster's pods. Each policy: from the own namespace, and from a team on a port.
Status run_rows(Context& context, std::vector<Row>& rows) {
  context.progress("policy_rows");
  const unsigned namespaces = context.options.quick ? 20 : 500, policies = 20, pods = 100, apps = 20, local_each = namespaces * pods / 100;
  Engine engine;
  std::set<std::pair<std::string, std::string>> identities;
  std::vector<model::Policy> made;
  unsigned number = 0, locals = 0;
  double entries = 0;  // of a table of identities for each pod
  for (unsigned n = 0; n < namespaces; ++n) {
    const std::string ns = fmt::format("ns-{}", n);
    engine.set_namespace({ns, {{"kubernetes.io/metadata.name", ns}, {"team", fmt::format("team-{}", n % 10)}}, false});
    for (unsigned p = 0; p < policies; ++p) {
      auto row = policy(ns, fmt::format("p-{}", p), with_label("app", fmt::format("app-{}", p % apps)));
      row.ingress = {from_pods({std::nullopt, with_label("app", fmt::format("app-{}", (p + 1) % apps))}),
                     from_pods({with_label("team", fmt::format("team-{}", (n + p) % 10)), with_label("app", "app-0")}, 443)};
      engine.set_policy(row);
    }
    for (unsigned i = 0; i < pods; ++i, ++number) {
      const auto app = fmt::format("app-{}", i % apps);
      const auto row = pod(ns, number, {{"app", app}, {"pod-template-hash", fmt::format("{:x}", i % apps)}});
      identities.emplace(ns, app);
      engine.set_pod(row);
      if (number % local_each != 0) continue;
      engine.add_local(++locals, row.id, Engine::Unknown::kClosed);
      entries += 1 + namespaces / 10.0;  // one of its own namespace, and app-0 of a tenth of the namespaces
    }
  }
  const auto delta = engine.compile();
  const auto sizes = engine.sizes();
  Row row{.name = "policy_rows", .ours = static_cast<double>(delta.subjects.size() + sizes.peers + sizes.cidrs + sizes.verdicts)};
  row.unit = "rows";
  row.base = static_cast<double>(namespaces) * policies * static_cast<double>(identities.size());
  row.base_name = "policies x identities";
  row.note = fmt::format(
      "{} policies, {} pods, {} of them local: {} subjects, {} peer classes, {} addresses, {} verdicts; a table of identities a pod: "
      "{:.0f}",
      namespaces * policies, number, locals, sizes.subjects, sizes.peer_classes, sizes.peers, sizes.verdicts, entries);
  rows.push_back(row);
  return {};
}

}  // namespace

std::vector<Family> policy_rows() { return {{{"policy_compute"}, run_compute}, {{"policy_rows"}, run_rows}}; }

}  // namespace fairway::bench
