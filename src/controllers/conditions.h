// status.conditions as the API has them, and writing a status only where it differs.
#pragma once

#include <string_view>

#include "controllers/json.h"
#include "controllers/store.h"

namespace fairway::controllers {

class Conditions {
 public:
  explicit Conditions(json::array list) : list_(std::move(list)) {}
  // lastTransitionTime moves only with the status, lastUpdateTime (where the kind has one) with any change.
  void set(std::string_view type, std::string_view status, std::string_view reason, std::string_view message,
           bool with_update_time = false);
  void touch(std::string_view type);  // only lastUpdateTime: there was progress
  void remove(std::string_view type);
  const Json* find(std::string_view type) const;
  const json::array& list() const { return list_; }

 private:
  json::array list_;
};

// Updates the status subresource of `object` (as read from `store`) and waits until the store has it.
Task<Status> write_status_if_new(Api& api, Store& store, Json object, Json status);

}  // namespace fairway::controllers
