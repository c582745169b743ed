#include "agent/policy_report.h"

#include <boost/json/value.hpp>
#include <charconv>
#include <utility>

#include "agent/api_time.h"
#include "reconcile/reconciler.h"

namespace fairway::agent {
namespace {

namespace json = boost::json;

constexpr std::chrono::seconds kBetween{2};
constexpr std::size_t kMaxError = 512;

std::uint64_t number(std::string_view text) {
  std::uint64_t out = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out);
  return ec == std::errc() && end == text.data() + text.size() ? out : 0;
}

}  // namespace

std::string PolicyVersions::to_string() const { return std::to_string(network) + "/" + std::to_string(cluster); }

PolicyVersions PolicyVersions::parse(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return {};
  return {number(text.substr(0, slash)), number(text.substr(slash + 1))};
}

k8s::ResourceRef lease_ref(const std::string& name) {
  k8s::ResourceRef ref;
  ref.group = "coordination.k8s.io";
  ref.resource = "leases";
  ref.ns = kReportNamespace;
  ref.name = name;
  return ref;
}

std::string lease_of_node(const std::string& node) { return "fairway-" + node; }

PolicyReport::PolicyReport(io::Loop& loop, k8s::ApiClient& api, std::string node) : loop_(loop), api_(api), node_(std::move(node)) {}

void PolicyReport::seen(k8s::Kind kind, std::uint64_t version) {
  if (version <= seen_.of(kind)) return;
  seen_.of(kind) = version;
  if (!came_) came_ = std::chrono::steady_clock::now();
}

void PolicyReport::step(bool in_force, const std::string& error) {
  if (!in_force) {
    now_.error = error.substr(0, kMaxError);
  } else {
    if (came_) {
      const auto took =
          std::chrono::ceil<std::chrono::milliseconds>(std::chrono::steady_clock::now() - *std::exchange(came_, std::nullopt));
      const bool told = written_ && written_->in_force == now_.in_force;
      now_.took = told ? took : std::max(now_.took, took);
    }
    now_ = {seen_, "", now_.took};
  }
  if (now_ != written_ && !call_) write();
}

// Not while a callback runs: its call goes with the timer.
void PolicyReport::again(std::chrono::milliseconds delay) {
  timer_ = loop_.after(delay, [this] {
    call_.reset();
    write();
  });
}

void PolicyReport::ask_own_node() {
  k8s::ResourceRef ref;
  ref.resource = "nodes";
  ref.name = node_;
  call_ = api_.get(ref, [this](Result<k8s::Json> answer) {
    if (answer.ok()) {
      const k8s::Json* uid = answer->is_object() ? answer->get_object().if_contains("metadata") : nullptr;
      uid = uid != nullptr && uid->is_object() ? uid->get_object().if_contains("uid") : nullptr;
      node_uid_ = uid != nullptr && uid->is_string() ? std::string(uid->get_string()) : "";
    }
    failure_ = answer.ok() ? "" : answer.error().message;
    again(node_uid_.empty() ? reconcile::backoff(failures_++ + 3) : std::chrono::milliseconds(0));
  });
}

void PolicyReport::write() {
  if (now_ == written_) return;
  if (node_uid_.empty()) return ask_own_node();
  json::object annotations{{kVersionAnnotation, now_.in_force.to_string()}};
  if (now_.took.count() > 0) annotations[kTookAnnotation] = std::to_string(now_.took.count());
  if (!now_.error.empty()) annotations[kErrorAnnotation] = now_.error;
  json::object lease{
      {"apiVersion", "coordination.k8s.io/v1"},
      {"kind", "Lease"},
      {"metadata",
       {{"name", lease_of_node(node_)},
        {"namespace", kReportNamespace},
        {"labels", {{kReportLabel, "node"}}},
        {"annotations", std::move(annotations)},
        {"ownerReferences", json::array{json::object{{"apiVersion", "v1"}, {"kind", "Node"}, {"name", node_}, {"uid", node_uid_}}}}}},
      {"spec", {{"holderIdentity", node_}, {"renewTime", micro_time(std::chrono::system_clock::now())}}}};
  call_ =
      api_.patch(lease_ref(lease_of_node(node_)), k8s::PatchType::kApply, std::move(lease), [this, sent = now_](Result<k8s::Json> answer) {
        failure_ = answer.ok() ? "" : answer.error().message;
        if (answer.ok()) written_ = sent;
        failures_ = answer.ok() ? 0 : failures_ + 1;
        again(answer.ok() ? std::chrono::milliseconds(kBetween) : reconcile::backoff(failures_ + 3));
      });
}

}  // namespace fairway::agent
