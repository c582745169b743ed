#include "agent/policy_reporter.h"

#include <algorithm>
#include <boost/json/value.hpp>
#include <cstdlib>
#include <utility>

#include "reconcile/reconciler.h"

namespace fairway::agent {
namespace {

namespace json = boost::json;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr char kLease[] = "fairway-policy-status";
constexpr char kReportedAnnotation[] = "fairway.io/reported";  // PolicyVersions: all changes up to them have been told
constexpr seconds kHeld{60}, kReleased{1}, kRenew{10};
constexpr milliseconds kSoonest{100}, kRarest{30'000}, kOfRank{200}, kMostOfRank{20'000};
constexpr double kBurst = 50, kEventsPerSecond = 2;
constexpr std::size_t kNamed = 3;  // nodes in a warning

const json::object* object_in(const json::object* from, std::string_view key) {
  const k8s::Json* value = from == nullptr ? nullptr : from->if_contains(key);
  return value == nullptr ? nullptr : value->if_object();
}
std::string text_in(const json::object* from, std::string_view key) {
  const k8s::Json* value = from == nullptr ? nullptr : from->if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}
// How long a holder may be silent, as it says itself; bounded, whatever the Lease says.
seconds held_for(const json::object* spec) {
  const k8s::Json* value = spec == nullptr ? nullptr : spec->if_contains("leaseDurationSeconds");
  const std::int64_t said = value != nullptr && value->is_int64() ? value->get_int64() : kHeld.count();
  return seconds(std::clamp<std::int64_t>(said, kReleased.count(), kHeld.count()));
}
const json::object* annotations_of(const k8s::Json& object) { return object_in(object_in(object.if_object(), "metadata"), "annotations"); }

// Why a Node cannot be spoken to, or empty.
std::string unready_reason(const k8s::Json& node) {
  const json::object* status = object_in(node.if_object(), "status");
  const k8s::Json* conditions = status == nullptr ? nullptr : status->if_contains("conditions");
  if (conditions == nullptr || !conditions->is_array()) return "";
  for (const k8s::Json& condition : conditions->get_array()) {
    const json::object* fields = condition.if_object();
    if (text_in(fields, "type") != "Ready" || text_in(fields, "status") == "True") continue;
    const std::string message = text_in(fields, "message");
    return "the node is not Ready since " + text_in(fields, "lastTransitionTime") +
           (message.empty() ? "" : " (" + message.substr(0, 128) + ")");
  }
  return "";
}

}  // namespace

PolicyReporter::PolicyReporter(io::Loop& loop, k8s::ApiClient& api, Config config)
    : loop_(loop), api_(api), config_(std::move(config)), tokens_(kBurst), filled_(Clock::now()) {}

// --- what there is to tell

void PolicyReporter::changed(PolicyChange change) {
  const Key key = key_of(change);
  latest_.of(change.kind) = std::max(latest_.of(change.kind), change.version);
  if (first_.of(change.kind) == 0) first_.of(change.kind) = change.version;
  outbox_.erase(key);
  half_sent_.erase(key);
  pending_.insert_or_assign(key, Pending{std::move(change), Clock::now(), ""});
  if (pending_.size() > kMostPending) {
    pending_.erase(
        std::min_element(pending_.begin(), pending_.end(), [](const auto& a, const auto& b) { return a.second.seen < b.second.seen; }));
    ++let_go_;
  }
  if (call_) return;
  // A look that was far off comes sooner for what is new.
  timer_.cancel();
  plan();
}

void PolicyReporter::removed(k8s::Kind kind, const model::Name& id) {
  const Key key{kind, id.to_string()};
  pending_.erase(key);
  outbox_.erase(key);
  half_sent_.erase(key);
}

void PolicyReporter::later(milliseconds delay) {
  timer_ = loop_.after(delay, [this] {
    call_.reset();
    step();
  });
}

void PolicyReporter::plan() {
  if (call_ || timer_.pending()) return;
  if (!pending_.empty()) later(holds_ ? until_next_look() : first_delay());
  else if (holds_) later(milliseconds(0));
}

void PolicyReporter::step() {
  if (holds_ && pending_.empty() && outbox_.empty()) return finish();
  if (pending_.empty() && !holds_) return;
  if (!holds_ || Clock::now() - renewed_ > kRenew) return ask_lease();
  if (pending_.empty()) return later(kSoonest);  // the last are being written
  gather();
}

void PolicyReporter::fail(const Error& error) {
  failure_ = error.message;
  holds_ = false;
  later(reconcile::backoff(failures_++ + 3));
}

// In the order of the nodes' names, so that one comes first.
milliseconds PolicyReporter::first_delay() const {
  if (!lease_version_.empty()) return kSoonest;  // the last holder
  const auto nodes = config_.nodes();
  const auto rank = std::lower_bound(nodes.begin(), nodes.end(), config_.node) - nodes.begin();
  return config_.patience + std::min<milliseconds>(kOfRank * rank, kMostOfRank);
}

// Half of the youngest one's age: few looks for one that takes long, and soon for one that is new.
milliseconds PolicyReporter::until_next_look() const {
  Clock::time_point youngest{};
  for (const auto& [key, pending] : pending_) youngest = std::max(youngest, pending.seen);
  const auto age = std::chrono::duration_cast<milliseconds>(Clock::now() - youngest);
  return std::clamp<milliseconds>(age / 2, kSoonest, kRarest);
}

// --- who tells

void PolicyReporter::ask_lease() {
  call_ = api_.get(lease_ref(kLease), [this](Result<k8s::Json> answer) { on_lease(std::move(answer)); });
}

void PolicyReporter::on_lease(Result<k8s::Json> answer) {
  if (!answer.ok()) return answer.error().code == Code::kNotFound ? take_lease(nullptr) : fail(answer.error());
  const json::object* spec = object_in(answer->if_object(), "spec");
  const bool mine = text_in(spec, "holderIdentity") == config_.node;
  const auto renewed = parse_api_time(text_in(spec, "renewTime"));
  lease_says_ = PolicyVersions::parse(text_in(annotations_of(*answer), kReportedAnnotation));
  // Also of one that has released it: what it has told is told.
  if (!mine) drop_reported(lease_says_);
  const bool silent = !renewed || std::chrono::system_clock::now() - *renewed > held_for(spec);
  if (mine || (silent && !pending_.empty())) return take_lease(&*answer);
  holds_ = false;
  lease_version_.clear();
  failure_.clear();
  later(pending_.empty() ? milliseconds(0) : config_.look_again);
}

void PolicyReporter::drop_reported(const PolicyVersions& by_holder) {
  std::erase_if(pending_, [&](const auto& e) { return e.second.change.version <= by_holder.of(e.second.change.kind); });
}

PolicyVersions PolicyReporter::reported() const {
  PolicyVersions out = latest_;
  const auto up_to = [&](const PolicyChange& change) { out.of(change.kind) = std::min(out.of(change.kind), change.version - 1); };
  for (const auto& [key, pending] : pending_) up_to(pending.change);
  for (const auto& [key, news] : outbox_) up_to(news.change);
  // What was changed between the Lease's word and the first that was seen here is for others to tell: a restarted holder would make
  // them forget it.
  if (Clock::now() - began_ < config_.young)
    for (const auto kind : {k8s::Kind::kNetworkPolicy, k8s::Kind::kClusterNetworkPolicy})
      if (lease_says_.of(kind) < first_.of(kind) || first_.of(kind) == 0) out.of(kind) = lease_says_.of(kind);
  return out;
}

k8s::Json PolicyReporter::lease_body(const k8s::Json* old, seconds held) const {
  json::object metadata{
      {"name", kLease}, {"namespace", kReportNamespace}, {"annotations", {{kReportedAnnotation, reported().to_string()}}}};
  // Of the one that was read: who writes first is the holder.
  if (old != nullptr) metadata["resourceVersion"] = text_in(object_in(old->if_object(), "metadata"), "resourceVersion");
  else if (!lease_version_.empty()) metadata["resourceVersion"] = lease_version_;
  return json::object{{"apiVersion", "coordination.k8s.io/v1"},
                      {"kind", "Lease"},
                      {"metadata", std::move(metadata)},
                      {"spec",
                       {{"holderIdentity", config_.node},
                        {"leaseDurationSeconds", held.count()},
                        {"renewTime", micro_time(std::chrono::system_clock::now())}}}};
}

void PolicyReporter::take_lease(const k8s::Json* old) {
  auto done = [this](Result<k8s::Json> answer) {
    if (!answer.ok()) return fail(answer.error());  // another was first, maybe: looked at again
    holds_ = true;
    failures_ = 0;
    failure_.clear();
    renewed_ = Clock::now();
    lease_version_ = text_in(object_in(answer->if_object(), "metadata"), "resourceVersion");
    later(milliseconds(0));
  };
  if (old == nullptr) lease_version_.clear();
  // The call that brought the old one ends here.
  auto body = lease_body(old, kHeld);
  timer_ = loop_.after(milliseconds(0), [this, found = old != nullptr, body = std::move(body), done = std::move(done)]() mutable {
    call_ = found ? api_.update(lease_ref(kLease), std::move(body), std::move(done))
                  : api_.create(lease_ref(kLease), std::move(body), std::move(done));
  });
}

// All is told: the others may forget it, and need not wait for us when the next change comes.
void PolicyReporter::finish() {
  holds_ = false;
  call_ = api_.update(lease_ref(kLease), lease_body(nullptr, kReleased), [this](Result<k8s::Json> answer) {
    lease_version_ = answer.ok() ? text_in(object_in(answer->if_object(), "metadata"), "resourceVersion") : "";
    timer_ = loop_.after(milliseconds(0), [this] {
      call_.reset();
      plan();
    });
  });
}

// --- what the nodes say

void PolicyReporter::gather() {
  k8s::ListOptions options;
  options.label_selector = kReportLabel;
  options.resource_version = "0";  // from the server's cache
  call_ = api_.list(lease_ref(""), options, [this](Result<k8s::Json> answer) {
    if (!answer.ok()) return fail(answer.error());
    on_leases(std::move(*answer));
  });
}

void PolicyReporter::on_leases(k8s::Json list) {
  leases_.clear();
  unready_.clear();
  const json::object* fields = list.if_object();
  const k8s::Json* items = fields == nullptr ? nullptr : fields->if_contains("items");
  if (items != nullptr && items->is_array()) {
    for (const k8s::Json& item : items->get_array()) {
      const json::object* spec = object_in(item.if_object(), "spec");
      const json::object* notes = annotations_of(item);
      leases_[text_in(spec, "holderIdentity")] = {PolicyVersions::parse(text_in(notes, kVersionAnnotation)),
                                                  text_in(notes, kErrorAnnotation), text_in(spec, "renewTime"),
                                                  milliseconds(std::strtoul(text_in(notes, kTookAnnotation).c_str(), nullptr, 10))};
    }
  }
  rank_nodes();
  // Of nodes that say nothing, the Node is asked why; of few.
  std::set<std::string> silent;
  for (const auto& [key, pending] : pending_) {
    if (Clock::now() - pending.seen < config_.warn_after) continue;
    const auto lag = lacking(pending);
    for (const auto& [version, node] : lag.first(std::min(lag.size(), kNamed)))
      if (silent.size() < kNamed && (!leases_.contains(node) || leases_[node].error.empty())) silent.insert(node);
  }
  to_ask_.assign(silent.begin(), silent.end());
  timer_ = loop_.after(milliseconds(0), [this] { ask_nodes(); });
}

void PolicyReporter::ask_nodes() {
  call_.reset();
  if (to_ask_.empty()) return evaluate();
  const std::string node = to_ask_.back();
  to_ask_.pop_back();
  k8s::ResourceRef ref;
  ref.resource = "nodes";
  ref.name = node;
  call_ = api_.get(ref, [this, node](Result<k8s::Json> answer) {
    if (answer.ok()) unready_[node] = unready_reason(*answer);
    timer_ = loop_.after(milliseconds(0), [this] { ask_nodes(); });
  });
}

void PolicyReporter::rank_nodes() {
  reached_.clear();
  for (const auto kind : {k8s::Kind::kNetworkPolicy, k8s::Kind::kClusterNetworkPolicy}) {
    auto& all = reached_[kind];
    for (std::string& node : config_.nodes()) {
      const auto it = leases_.find(node);
      all.emplace_back(it == leases_.end() ? 0 : it->second.in_force.of(kind), std::move(node));
    }
    std::sort(all.begin(), all.end());
  }
}

std::span<const PolicyReporter::Reached> PolicyReporter::lacking(const Pending& pending) const {
  const auto& all = reached_.at(pending.change.kind);
  const auto first_that_has = std::lower_bound(all.begin(), all.end(), Reached{pending.change.version, ""});
  return {all.begin(), first_that_has};
}

// A node that has gone on to a later change no longer says how long it took for this one.
std::optional<milliseconds> PolicyReporter::slowest(const PolicyChange& change) const {
  milliseconds out{};
  for (const auto& [version, node] : reached_.at(change.kind)) {
    const auto lease = leases_.find(node);
    if (version != change.version || lease == leases_.end() || lease->second.took.count() == 0) return std::nullopt;
    out = std::max(out, lease->second.took);
  }
  return out;
}

std::string PolicyReporter::reason_of(const std::string& node) const {
  const auto lease = leases_.find(node);
  if (lease != leases_.end() && !lease->second.error.empty()) return lease->second.error;
  if (const auto it = unready_.find(node); it != unready_.end() && !it->second.empty()) return it->second;
  if (lease == leases_.end()) return "no agent of Fairway has reported from there";
  return "its agent has not reported it; it last did " + lease->second.renewed;
}

void PolicyReporter::evaluate() {
  const auto now = Clock::now();
  for (auto it = pending_.begin(); it != pending_.end();) {
    Pending& pending = it->second;
    const auto age = std::chrono::duration_cast<milliseconds>(now - pending.seen);
    const auto lag = pending.change.refused ? std::span<const Reached>() : lacking(pending);
    const std::size_t nodes = reached_.at(pending.change.kind).size();
    if (lag.empty()) {
      say(pending.change.refused ? refused_news(pending.change) : in_force_news(pending.change, nodes, slowest(pending.change)));
      it = pending_.erase(it);
      continue;
    }
    if (age >= config_.warn_after) warn(pending, lag, nodes, age);
    ++it;
  }
  plan();
}

// Once, and again as who lacks it or why changes.
void PolicyReporter::warn(Pending& pending, std::span<const Reached> lag, std::size_t nodes, milliseconds age) {
  std::vector<NodeLag> named;
  std::string all = std::to_string(lag.size());
  for (const auto& [version, node] : lag.first(std::min(lag.size(), kNamed))) {
    named.push_back({node, reason_of(node)});
    all += "\n" + named.back().node + "\n" + named.back().reason;
  }
  if (all == std::exchange(pending.warned, all)) return;
  say(not_in_force_news(pending.change, nodes, lag.size(), named, age));
}

// --- telling

void PolicyReporter::say(PolicyNews news) {
  const Key key = key_of(news.change);
  half_sent_.erase(key);
  outbox_.insert_or_assign(key, std::move(news));
  send();
}

// Warnings first. One at a time.
void PolicyReporter::send() {
  if (outbox_.empty() || send_call_ || send_timer_.pending()) return;
  const auto now = Clock::now();
  tokens_ = std::min(kBurst, tokens_ + kEventsPerSecond * std::chrono::duration<double>(now - filled_).count());
  filled_ = now;
  if (tokens_ < 1) {
    send_timer_ = loop_.after(milliseconds(500), [this] { send(); });
    return;
  }
  auto it = std::find_if(outbox_.begin(), outbox_.end(), [](const auto& e) { return e.second.is_warning(); });
  if (it == outbox_.end()) it = outbox_.begin();
  const auto wall = std::chrono::system_clock::now();
  const Key key = it->first;
  const bool condition = half_sent_.contains(key);
  const bool condition_follows = !condition && key.first == k8s::Kind::kClusterNetworkPolicy;
  Patch patch = condition ? condition_patch(it->second, wall) : event_patch(it->second, config_.node, wall);
  send_call_ = api_.patch(patch.ref, k8s::PatchType::kApply, std::move(patch.body),
                          [this, key, condition_follows](Result<k8s::Json> answer) { sent(key, condition_follows, std::move(answer)); });
}

void PolicyReporter::sent(const Key& key, bool condition_follows, Result<k8s::Json> answer) {
  // What is refused for good is not tried for ever; a policy that has gone has no status.
  const bool over = answer.ok() || answer.error().code == Code::kNotFound || answer.error().code == Code::kInvalid;
  if (!answer.ok()) failure_ = answer.error().message;
  send_failures_ = over ? 0 : send_failures_ + 1;
  if (over && condition_follows) half_sent_.insert(key);
  if (over && !condition_follows) {
    outbox_.erase(key);
    half_sent_.erase(key);
  }
  if (answer.ok()) tokens_ -= 1;
  send_timer_ = loop_.after(over ? milliseconds(0) : reconcile::backoff(send_failures_ + 3), [this] {
    send_call_.reset();
    send();
  });
}

}  // namespace fairway::agent
