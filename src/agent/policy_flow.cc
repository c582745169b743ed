#include "agent/policy_flow.h"

#include <algorithm>
#include <chrono>

#include "model/codec.h"

namespace fairway::agent {
namespace {

using compile::policy::Engine;
using k8s::Kind;
using model::Stage;

// How long an ADD waits for its pod's object, and for its verdicts. The runtime tries again.
constexpr std::chrono::seconds kPatience{5};

}  // namespace

PolicyFlow::PolicyFlow(reflect::Cluster& cluster, model::Problems& problems, PolicyTargets targets, PolicyConfig config)
    : cluster_(cluster),
      problems_(problems),
      targets_(std::move(targets)),
      config_(std::move(config)),
      engine_(std::make_unique<Engine>(1, config_.pod_ranges)),
      sink_(targets_.tables, targets_.host, targets_.wake),
      denied_(targets_.tables) {}

Result<bool> PolicyFlow::adopt() {
  FW_ASSIGN(const bool judged, sink_.adopt());
  // Numbers as this agent will give them were the agent's before the last.
  const auto will_be_given = [this](std::uint32_t rule) { return rule != 0 && sink_.rule_of(rule); };
  FW_TRY(denied_.forget_flows(will_be_given));
  FW_TRY(denied_.settle([&](const fw_denied_key& key) { return will_be_given(key.rule); },
                        [](const fw_denied_key& key) {
                          return Denied{"", std::nullopt, static_cast<compile::policy::Direction>(key.direction)};
                        }));
  return judged;
}

// --- objects in

void PolicyFlow::run(const reflect::Cluster::Changes& changes, TimePoint now) {
  open_ = true;
  feed(changes);
  run(now);
}

void PolicyFlow::feed(const reflect::Cluster::Changes& changes) {
  if (changes.namespaces.empty() && changes.nodes.empty() && changes.pods.empty() && changes.policies.empty()) return;
  awaited_.insert(changes.policies.begin(), changes.policies.end());
  if (!engaged_) return feed_all();
  for (const auto& name : changes.namespaces) feed_namespace(name);
  for (const auto& name : changes.nodes) feed_node(name);
  for (const auto& key : changes.pods) feed_pod(key);
  for (const auto& key : changes.policies) feed_policy(key);
  ++fed_;
}

// What the tables hold; nothing as long as no policy asks.
void PolicyFlow::feed_all() {
  open_ = true;
  ++fed_;
  if (engaged_ || !any_policy()) return;
  engaged_ = true;
  const auto each = [&](Kind kind, void (PolicyFlow::*feed_one)(const std::string&)) {
    std::vector<std::string> keys;
    cluster_.table(kind).for_each([&](std::string_view key, std::string_view) { keys.emplace_back(key); });
    for (const auto& key : keys) (this->*feed_one)(key);
  };
  each(Kind::kNamespace, &PolicyFlow::feed_namespace);
  each(Kind::kNode, &PolicyFlow::feed_node);
  each(Kind::kPod, &PolicyFlow::feed_pod);
  if (config_.resolver) engine_->set_pod(*config_.resolver);
  each(Kind::kNetworkPolicy, &PolicyFlow::feed_policy);
  each(Kind::kClusterNetworkPolicy, &PolicyFlow::feed_policy);
}

// After the last policy: once the datapath has no row that an old number is in, a new engine may give the numbers again. Rules' numbers go
// on, as drops are counted by them.
void PolicyFlow::forget_all() {
  if (!engaged_ || any_policy() || !idle() || !engine_->freed_rules().empty()) return;  // what was denied is counted by their names
  engaged_ = false;
  engine_ = std::make_unique<Engine>(engine_->rules_end(), config_.pod_ranges);
  for (const auto& [ifindex, pod] : local_) feed_local(pod);
}

void PolicyFlow::feed_pod(const std::string& key) {
  auto pod = cluster_.find_pod(key);
  if (!pod) return engine_->remove_pod(key);
  // Its addresses are known here before the API has them.
  const model::LocalEndpoint* local = find_local(key);
  if (local != nullptr && pod->ips.empty() && !pod->host_network) pod->ips = local->ips;
  engine_->set_pod(*pod);
}

void PolicyFlow::feed_node(const std::string& name) {
  if (const auto node = cluster_.find_node(name)) engine_->set_node(*node);
  else engine_->remove_node(name);
}

void PolicyFlow::feed_namespace(const std::string& name) {
  if (const auto row = cluster_.find_namespace(name)) engine_->set_namespace(*row);
  else engine_->remove_namespace(name);
}

void PolicyFlow::feed_policy(const std::string& key) {
  if (const auto policy = cluster_.find_policy(key)) return engine_->set_policy(*policy);
  engine_->remove_policy(model::name_of(key).ns.empty() ? model::PolicyTier::kAdmin : model::PolicyTier::kNetworkPolicy, key);
}

void PolicyFlow::feed_local(const model::LocalEndpoint& pod) {
  engine_->add_local(pod.host_ifindex, pod.pod, concerned(pod.pod.ns) ? Engine::Unknown::kClosed : Engine::Unknown::kOpen);
  if (engaged_) feed_pod(model::key_of(pod.pod));
}

// --- this node's pods

const model::LocalEndpoint* PolicyFlow::find_local(const std::string& key) const {
  const auto it = local_keys_.find(key);
  return it == local_keys_.end() ? nullptr : &local_.at(it->second);
}

bool PolicyFlow::any_policy() const {
  return cluster_.table(Kind::kNetworkPolicy).size() + cluster_.table(Kind::kClusterNetworkPolicy).size() > 0;
}

bool PolicyFlow::concerned(const std::string& ns) const {
  if (cluster_.table(Kind::kClusterNetworkPolicy).size() > 0) return true;
  const auto is_in = [&](std::string_view key) { return key.size() > ns.size() && key[ns.size()] == '/' && key.starts_with(ns); };
  bool found = false;
  cluster_.table(Kind::kNetworkPolicy).for_each([&](std::string_view key, std::string_view) { found |= is_in(key); });
  return found;
}

bool PolicyFlow::knows(const model::LocalEndpoint& pod) const {
  const auto row = cluster_.find_pod(model::key_of(pod.pod));
  return row && (pod.pod_uid.empty() || row->uid == pod.pod_uid);
}

void PolicyFlow::add_local(const model::LocalEndpoint& pod) {
  if (pod.pod.name.empty()) return;  // nobody says whose it is: no policy can select it
  const std::string key = model::key_of(pod.pod);
  if (local_.insert_or_assign(pod.host_ifindex, pod).second) {
    local_keys_.emplace(key, pod.host_ifindex);
    cluster_.keep(key);
  }
  feed_local(pod);
  ++fed_;
}

void PolicyFlow::remove_local(const model::LocalEndpoint& pod) {
  std::erase_if(waiting_, [&](const Waiting& w) { return w.pod.host_ifindex == pod.host_ifindex; });  // its ADD has ended
  const auto it = local_.find(pod.host_ifindex);
  if (it == local_.end()) return;
  // A failure is no reason to keep the pod: its counts stay where they are, and its interface's number does not come back.
  (void)denied_.settle([&](const fw_denied_key& key) { return key.ifindex == pod.host_ifindex; },
                       [this](const auto& key) { return name_of(key); });
  cluster_.release(model::key_of(it->second.pod));
  local_.erase(it);
  std::erase_if(local_keys_, [&](const auto& e) { return e.second == pod.host_ifindex; });
  engine_->remove_local(pod.host_ifindex);
  ++fed_;
  targets_.wake();
}

void PolicyFlow::admit(const model::LocalEndpoint& pod, TimePoint now, Done done) {
  if (pod.pod.name.empty()) return done({});
  // Where no policy is known at all, a pod makes no difference: nothing to wait for.
  if (open_ && !any_policy()) {
    run(now);
    return done({});
  }
  waiting_.push_back({pod, std::move(done), now + kPatience, std::nullopt});
  run(now);
  if (!waiting_.empty()) targets_.wake();  // a timer for it
}

bool PolicyFlow::settle_one(Waiting& waiting, TimePoint now) {
  const auto finish = [&](Status status) {
    const Done done = std::move(waiting.done);
    done(std::move(status));
    return true;
  };
  const std::string who = "pod " + waiting.pod.pod.to_string();
  if (!waiting.mark) {
    if (!open_) {
      if (now < waiting.give_up) return false;
      return finish(make_error(Code::kUnavailable, who + ": the cluster's policies are not known yet"));
    }
    const bool wait = !knows(waiting.pod) && targets_.online() && now < waiting.give_up;
    if (wait) return false;
    if (!knows(waiting.pod) && targets_.online() && concerned(waiting.pod.pod.ns))
      return finish(make_error(Code::kUnavailable, who + ": the API has not told of it yet, and policies may select it"));
    waiting.mark = fed_;
  }
  if (in_force_ >= *waiting.mark) return finish({});
  if (overflow_) return finish(make_error(Code::kExhausted, who + ": the policies have too many port classes"));
  if (sink_.failure()) return finish(Error(sink_.failure()->error).with_context(who + ": its policy"));
  if (now < waiting.give_up) return false;
  return finish(make_error(Code::kTimeout, who + ": its policy is not in force within " + std::to_string(kPatience.count()) + " s"));
}

// --- rows out

void PolicyFlow::apply(TimePoint now) {
  sink_.run(now);
  while (!tickets_.empty() && tickets_.begin()->first <= sink_.in_force()) {
    in_force_ = std::max(in_force_, tickets_.begin()->second);
    tickets_.erase(tickets_.begin());
  }
  settle_counts();
}

Denied PolicyFlow::name_of(const fw_denied_key& key) const {
  Denied out;
  out.direction = static_cast<compile::policy::Direction>(key.direction);
  if (const auto at = local_.find(key.ifindex); at != local_.end()) out.pod = model::key_of(at->second.pod);
  const auto number = sink_.rule_of(key.rule);
  if (!number) return out;
  const auto* rule = engine_->find_rule(*number);
  out.rule = rule != nullptr ? *rule : compile::policy::RuleName{{}, out.direction, -1, ""};
  return out;
}

Result<std::vector<Denied>> PolicyFlow::denied() const {
  return denied_.all([this](const fw_denied_key& key) { return name_of(key); });
}

// All that was compiled is in force, and no packet is judged by what was before: numbers that are free may mean something else now.
void PolicyFlow::settle_counts() {
  if (!sink_.idle() || sink_.flips() == 0) return;
  const auto freed = engine_->freed_rules();
  if (freed.empty() && counts_adopted_) return;
  const std::set<std::uint32_t> gone(freed.begin(), freed.end());
  const auto is_gone = [&](std::uint32_t rule) {
    const auto number = sink_.rule_of(rule);
    return !number || gone.contains(*number);
  };
  const auto settled = denied_.settle([&](const fw_denied_key& key) { return is_gone(key.rule) || !local_.contains(key.ifindex); },
                                      [this](const fw_denied_key& key) { return name_of(key); });
  if (!settled.ok() || !denied_.forget_flows(is_gone).ok()) return;  // with the next change
  counts_adopted_ = true;
  engine_->reuse_rules();
}

// False: nothing to apply, the old policies stay. After that the whole state takes the place of what is in force.
bool PolicyFlow::take(compile::policy::Delta& delta) {
  if (delta.overflow) {
    overflow_ = true;
    problems_.set(Stage::kApply, "Policies",
                  {{"ports", "they cut the ports into more classes than there are numbers (65534): the old policies stay in force"}});
    return false;
  }
  if (!overflow_) return true;
  if (!sink_.adopt().ok()) return false;  // the maps cannot be read now: with the next change
  overflow_ = false;
  delta = engine_->whole();
  first_ = true;
  return true;
}

void PolicyFlow::run(TimePoint now) {
  if (!open_ && restored_ && !waiting_.empty()) feed_all();
  if (open_) {
    apply(now);
    if (!sink_.busy() && compiled_ != fed_) {
      auto delta = engine_->compile();
      compiled_ = fed_;
      if (!take(delta)) return settle(now);
      // The first one is the whole state, and takes the place of what was pinned, though it were empty.
      const bool nothing = delta.empty() && !first_;
      first_ = false;
      if (!nothing) tickets_[sink_.add(std::move(delta))] = fed_;
      else if (tickets_.empty()) in_force_ = fed_;
      else tickets_.rbegin()->second = fed_;
      apply(now);
    }
    if (const auto& failure = sink_.failure())
      problems_.set(Stage::kApply, "Policies", {{failure->table, failure->error.message + ": the old policies stay in force"}});
    else if (!overflow_) problems_.clear(Stage::kApply, "Policies");
    if (in_force()) awaited_.clear();
    forget_all();
  }
  settle(now);
}

void PolicyFlow::settle(TimePoint now) {
  // An answer may lead to the next ADD or to an undo, which come back here: the list is taken apart first.
  auto all = std::exchange(waiting_, {});
  std::vector<Waiting> left;
  for (Waiting& waiting : all)
    if (!settle_one(waiting, now)) left.push_back(std::move(waiting));
  waiting_.insert(waiting_.begin(), std::make_move_iterator(left.begin()), std::make_move_iterator(left.end()));
}

std::optional<PolicyFlow::TimePoint> PolicyFlow::next_due() const {
  std::optional<TimePoint> out;
  const auto at = [&](TimePoint due) {
    if (!out || due < *out) out = due;
  };
  if (open_) {
    if (const auto due = sink_.next_due()) at(*due);
    if (!sink_.busy() && compiled_ != fed_) at(TimePoint{});
  }
  for (const Waiting& waiting : waiting_) at(waiting.give_up);
  return out;
}

}  // namespace fairway::agent
