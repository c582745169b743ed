#include "controllers/deployment_math.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace fairway::controllers {
namespace {

// Members sorted by name, so that the order in which a client wrote them does not make another template.
void hash_value(const Json& value, std::uint32_t& state) {
  const auto feed = [&state](std::string_view bytes) {
    for (const unsigned char c : bytes) state = (state ^ c) * 16777619u;
    state = (state ^ 0xffu) * 16777619u;
  };
  if (value.is_object()) {
    std::vector<std::string_view> keys;
    for (const auto& member : value.get_object()) keys.push_back(member.key());
    std::sort(keys.begin(), keys.end());
    feed("{");
    for (const auto key : keys) {
      feed(key);
      hash_value(value.get_object().at(key), state);
    }
    feed("}");
  } else if (value.is_array()) {
    feed("[");
    for (const auto& item : value.get_array()) hash_value(item, state);
    feed("]");
  } else {
    feed(json::serialize(value));
  }
}
}  // namespace

Strategy strategy_of(const Json& deployment) {
  if (text(deployment, "spec", "strategy", "type") == "Recreate") return {.recreate = true};
  const Replicas wanted = count(deployment, "spec", "replicas");
  Strategy strategy;
  strategy.max_surge = int_or_percent(at(deployment, "spec", "strategy", "rollingUpdate", "maxSurge"), wanted, true, (wanted + 3) / 4);
  strategy.max_unavailable =
      int_or_percent(at(deployment, "spec", "strategy", "rollingUpdate", "maxUnavailable"), wanted, false, wanted / 4);
  if (strategy.max_surge == 0 && strategy.max_unavailable == 0) strategy.max_unavailable = 1;
  strategy.max_unavailable = std::min(strategy.max_unavailable, wanted);
  return strategy;
}

Replicas next_new_replicas(const Strategy& strategy, Replicas wanted, Replicas new_replicas, Replicas all_replicas) {
  if (strategy.recreate || new_replicas > wanted) return wanted;
  const Replicas room = wanted + strategy.max_surge - all_replicas;
  if (room <= 0) return new_replicas;
  return new_replicas + std::min(room, wanted - new_replicas);
}

std::vector<Replicas> next_old_replicas(const Strategy& strategy, Replicas wanted, const std::vector<SetCounts>& old,
                                        const SetCounts& fresh) {
  std::vector<Replicas> next;
  Replicas all = fresh.replicas, available = fresh.available;
  for (const auto& set : old) {
    next.push_back(set.replicas);
    all += set.replicas;
    available += set.available;
  }
  if (strategy.recreate) return std::vector<Replicas>(old.size(), 0);
  const Replicas min_available = wanted - strategy.max_unavailable;
  // First those that serve nobody: they can go as far as the new set's own missing pods allow.
  Replicas unhealthy = std::max<Replicas>(0, all - min_available - std::max<Replicas>(0, fresh.replicas - fresh.available));
  const bool may_shrink = unhealthy > 0;
  for (std::size_t i = 0; i < old.size() && unhealthy > 0; ++i) {
    const Replicas idle = std::min(unhealthy, std::max<Replicas>(0, next[i] - old[i].available));
    next[i] -= idle;
    unhealthy -= idle;
  }
  Replicas spare = may_shrink ? std::max<Replicas>(0, available - min_available) : 0;
  for (std::size_t i = 0; i < old.size() && spare > 0; ++i) {
    const Replicas fewer = std::min(next[i], spare);
    next[i] -= fewer;
    spare -= fewer;
  }
  return next;
}

std::vector<Replicas> proportional(const std::vector<Share>& sets, Replicas ceiling) {
  std::vector<Replicas> next;
  const Replicas total =
      std::accumulate(sets.begin(), sets.end(), Replicas{0}, [](Replicas sum, const Share& s) { return sum + s.replicas; });
  const Replicas difference = ceiling - total;
  Replicas given = 0;
  for (const auto& set : sets) {
    Replicas share = 0;
    if (difference != 0 && total > 0) {
      const Replicas was = set.max_replicas > 0 ? set.max_replicas : ceiling;
      share = static_cast<Replicas>(std::llround(static_cast<double>(set.replicas) * ceiling / was)) - set.replicas;
      const Replicas left = difference - given;
      share = difference > 0 ? std::min(std::max<Replicas>(share, 0), left) : std::max(std::min<Replicas>(share, 0), left);
    }
    next.push_back(set.replicas + share);
    given += share;
  }
  if (!next.empty()) next.front() = std::max<Replicas>(0, next.front() + difference - given);  // what rounding left over
  return next;
}

std::string template_hash(const Json& pod_template, std::int64_t collisions) {
  static constexpr std::string_view kLetters = "bcdfghjklmnpqrstvwxz2456789";
  std::uint32_t state = 2166136261u;
  hash_value(pod_template, state);
  if (collisions > 0) hash_value(Json(collisions), state);
  std::string hash;
  for (const char digit : std::to_string(state)) hash += kLetters[static_cast<unsigned char>(digit) % kLetters.size()];
  return hash;
}

bool same_template(const Json& a, const Json& b) {
  const auto without_hash = [](Json t) {
    place(t, "metadata", "labels").erase(kTemplateHash);
    return t;
  };
  return without_hash(a) == without_hash(b);
}

}  // namespace fairway::controllers
