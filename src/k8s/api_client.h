// ApiClient: the Kubernetes API as its clients see it, over HTTP (http_api_client.h) or in the
// API server's own process (apiserver/local_client.h). Controllers and the node runtime know only this.
//
// Objects are boost::json values. All on one loop; a callback never runs inside the call that made it.
// Errors carry the API's code, message and reason (Error::reason: "NotFound", "Conflict", "Expired" ...).
#pragma once

#include <boost/json/value.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"

namespace fairway::k8s {

using Json = boost::json::value;

struct ResourceRef {
  std::string group;  // "" for core
  std::string version = "v1";
  std::string resource;     // plural: "pods"
  std::string ns;           // empty: cluster-scoped, or all namespaces in list/watch
  std::string name;         // empty: the collection
  std::string subresource;  // "status", "scale", "binding" ... or empty
};

struct ListOptions {
  std::string label_selector;
  std::string field_selector;
  std::string resource_version;
};

enum class PatchType { kJson, kMerge, kStrategic, kApply };

struct DeleteOptions {
  int grace_period_seconds = -1;   // -1: the object's own
  std::string propagation_policy;  // "", Background, Foreground, Orphan
  std::string precondition_uid;
};

enum class EventType { kAdded, kModified, kDeleted, kBookmark };
struct WatchCallbacks {
  std::function<void(EventType, Json)> on_event;
  std::function<void(Result<void>)> on_end;  // kGone: list again
};

// Destroying it cancels the call: no callback afterwards.
class Call {
 public:
  virtual ~Call() = default;
};
using CallPtr = std::unique_ptr<Call>;
using Done = std::function<void(Result<Json>)>;

class ApiClient {
 public:
  virtual ~ApiClient() = default;
  [[nodiscard]] virtual CallPtr get(const ResourceRef& ref, Done done) = 0;
  [[nodiscard]] virtual CallPtr list(const ResourceRef& ref, const ListOptions& options, Done done) = 0;
  [[nodiscard]] virtual CallPtr create(const ResourceRef& ref, Json object, Done done) = 0;
  [[nodiscard]] virtual CallPtr update(const ResourceRef& ref, Json object, Done done) = 0;
  [[nodiscard]] virtual CallPtr patch(const ResourceRef& ref, PatchType type, Json patch, Done done) = 0;
  [[nodiscard]] virtual CallPtr remove(const ResourceRef& ref, const DeleteOptions& options, Done done) = 0;
  [[nodiscard]] virtual CallPtr watch(const ResourceRef& ref, const ListOptions& options, WatchCallbacks callbacks) = 0;
};

}  // namespace fairway::k8s
