#include "controllers/conditions.h"

#include <algorithm>

namespace fairway::controllers {

void Conditions::set(std::string_view type, std::string_view status, std::string_view reason, std::string_view message,
                     bool with_update_time) {
  const std::string now = render_time(std::chrono::system_clock::now());
  Json* found = const_cast<Json*>(find(type));
  if (!found) found = &list_.emplace_back(json::object{{"type", type}});
  auto& condition = found->get_object();
  const bool same_status = text(*found, "status") == status;
  if (same_status && text(*found, "reason") == reason && text(*found, "message") == message) return;
  if (!same_status) condition["lastTransitionTime"] = now;
  if (with_update_time) condition["lastUpdateTime"] = now;
  condition["status"] = status;
  for (const auto& [key, value] : {std::pair(std::string_view("reason"), reason), std::pair(std::string_view("message"), message)}) {
    if (value.empty()) condition.erase(key);
    else condition[key] = value;
  }
}

void Conditions::touch(std::string_view type) {
  Json* found = const_cast<Json*>(find(type));
  if (found) found->get_object()["lastUpdateTime"] = render_time(std::chrono::system_clock::now());
}

void Conditions::remove(std::string_view type) {
  for (auto it = list_.begin(); it != list_.end();) it = text(*it, "type") == type ? list_.erase(it) : it + 1;
}

const Json* Conditions::find(std::string_view type) const {
  const auto found = std::find_if(list_.begin(), list_.end(), [&](const Json& c) { return text(c, "type") == type; });
  return found == list_.end() || !found->is_object() ? nullptr : &*found;
}

Task<Status> write_status_if_new(Api& api, Store& store, Json object, Json status) {
  if (const Json* old = at(object, "status"); old && *old == status) co_return Status{};
  object.get_object()["status"] = std::move(status);
  auto ref = store.ref_to(key_for(namespace_of(object), name_of(object)), "status");
  auto written = co_await api.update(std::move(ref), std::move(object));
  if (!written.ok()) {
    if (written.error().code == Code::kNotFound) co_return Status{};
    co_return std::move(written).error();
  }
  co_await store.caught_up_with(*written);
  co_return Status{};
}

}  // namespace fairway::controllers
