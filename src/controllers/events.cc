#include "controllers/events.h"

#include <fmt/format.h>

#include "controllers/json.h"
#include "sys/log.h"

namespace fairway::controllers {
namespace {
constexpr std::size_t kMaxKnown = 4096;
constexpr std::size_t kMaxInFlight = 1024;

ResourceRef event_ref(const std::string& ns, const std::string& name) {
  ResourceRef ref;
  ref.resource = "events";
  ref.ns = ns;
  ref.name = name;
  return ref;
}
}  // namespace

std::string_view Events::About::group() const {
  const auto slash = api_version.find('/');
  return slash == std::string_view::npos ? std::string_view{} : api_version.substr(0, slash);
}

void Events::record(std::string_view component, const Json& about, About type, std::string_view level, std::string_view reason,
                    const std::string& message) {
  const auto id = fmt::format("{}|{}|{}|{}|{}", uid_of(about), component, level, reason, message);
  if (auto found = known_.find(id); found != known_.end()) {
    ++found->second.count;
    return send_repeat(id);
  }
  const auto now = std::chrono::system_clock::now();
  // Events about cluster-scoped objects live in "default".
  const std::string ns(namespace_of(about).empty() ? "default" : namespace_of(about));
  const auto nanos = std::chrono::duration_cast<std::chrono::nanoseconds>(now.time_since_epoch()).count();
  const std::string name = fmt::format("{}.{:x}", name_of(about), nanos);
  const std::string time = render_time(now);
  Json event = json::object{
      {"apiVersion", "v1"},
      {"kind", "Event"},
      {"metadata", {{"name", name}, {"namespace", ns}}},
      {"involvedObject",
       {{"apiVersion", type.api_version},
        {"kind", type.kind},
        {"name", name_of(about)},
        {"uid", uid_of(about)},
        {"resourceVersion", text(about, "metadata", "resourceVersion")}}},
      {"reason", reason},
      {"message", message},
      {"source", {{"component", component}}},
      {"reportingComponent", component},
      {"reportingInstance", ""},
      {"type", level},
      {"count", 1},
      {"firstTimestamp", time},
      {"lastTimestamp", time},
  };
  if (!namespace_of(about).empty()) place(event, "involvedObject")["namespace"] = namespace_of(about);
  if (order_.size() >= kMaxKnown) {
    known_.erase(order_.front());
    order_.pop_front();
  }
  order_.push_back(id);
  send_new(known_[id] = Known{ns, name, 1}, id, std::move(event));
}

// An event is news, not state: one that cannot be written, or that would be one too many at a time, is dropped.
k8s::Done Events::finished(std::uint64_t number, std::string id) {
  return [this, number, id = std::move(id)](Result<Json> result) {
    if (!result.ok()) {
      log::debug("controllers", "event: {}", result.error().message);
      known_.erase(id);  // gone or never there: the next one is new
    }
    api_.loop().post([this, number, alive = std::weak_ptr<int>(alive_)] {
      if (!alive.expired()) calls_.erase(number);
    });
  };
}

void Events::send_new(Known& known, const std::string& id, Json event) {
  if (calls_.size() >= kMaxInFlight) return;
  const auto number = next_call_++;
  calls_[number] = api_.client().create(event_ref(known.ns, ""), std::move(event), finished(number, id));
}

void Events::send_repeat(const std::string& id) {
  if (calls_.size() >= kMaxInFlight) return;
  const Known& known = known_[id];
  Json patch = json::object{{"count", known.count}, {"lastTimestamp", render_time(std::chrono::system_clock::now())}};
  const auto number = next_call_++;
  calls_[number] = api_.client().patch(event_ref(known.ns, known.name), k8s::PatchType::kMerge, std::move(patch), finished(number, id));
}

}  // namespace fairway::controllers
