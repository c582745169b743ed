// Engine: the verbs on resources, the same for HTTP (http_api.cc) and for the in-process client (local_client.cc).
//
// A write's way: decode -> system fields -> defaults -> admission -> validation -> managed fields -> store.
// Synchronous, on the loop's thread; an answer is final when the call returns.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apiserver/api_error.h"
#include "apiserver/kinds.h"
#include "apiserver/service_allocator.h"
#include "apiserver/store.h"
#include "apiserver/watch_hub.h"
#include "k8s/api_client.h"

namespace fairway::apiserver {

// What a request is about: a collection (no name), an object, or its subresource.
struct Target {
  KindPtr kind;
  std::string ns;
  std::string name;
  std::string subresource;
};

enum class FieldValidation { kIgnore, kWarn, kStrict };

struct WriteOptions {
  std::string manager;               // empty: field ownership is not recorded
  std::string user;                  // who asks, for SelfSubjectReview
  std::string recorded_subresource;  // in managedFields, where it is not the target's: scale writes the main object
  bool dry_run = false;
  bool force = false;  // server-side apply
  FieldValidation validation = FieldValidation::kWarn;
  std::vector<std::string> duplicates;  // of the body's keys, found while reading it
};

struct Written {
  Json object;
  ObjectPtr stored;  // null for dry runs and for objects that are not stored
  bool created = false;
  std::vector<std::string> warnings;
};

struct ListQuery {
  LabelSelector labels;
  FieldSelector fields;
  std::size_t limit = 0;
  std::string continue_token;
  std::string resource_version, version_match;
};

struct Listing {
  std::vector<ObjectPtr> items;
  Object metadata;  // resourceVersion, continue, remainingItemCount
};

struct DeleteRequest {
  std::optional<std::int64_t> grace_period_seconds;
  std::string propagation_policy;
  std::string precondition_uid, precondition_version;
  bool dry_run = false;
};

struct Deleted {
  Json answer;  // the object, or Status Success
  bool removed = false;
};

class Engine {
 public:
  Engine(Store& store, ServiceAllocator& allocator);

  Store& store() { return store_; }
  WatchHub& hub() { return hub_; }
  KindTable& kinds() { return kinds_; }

  // Reads
  ApiResult<ObjectPtr> get(const Target& target);
  ApiResult<Json> get_scale(const Target& target);
  ApiResult<Listing> list(const Target& target, const ListQuery& query);

  // Writes. `object` is a body already read to JSON.
  ApiResult<Written> create(const Target& target, Json object, const WriteOptions& options);
  ApiResult<Written> update(const Target& target, Json object, const WriteOptions& options);
  ApiResult<Written> patch(const Target& target, k8s::PatchType type, const Json& patch, const WriteOptions& options);
  ApiResult<Deleted> remove(const Target& target, const DeleteRequest& request);

  // Called for each write of a kind, before its answer: the custom resources' kinds follow their definitions.
  void load_custom_kinds();
  // Deletes Events older than this, as etcd's leases do.
  void expire_events(std::int64_t ttl_seconds);

 private:
  // engine_write.cc
  ApiResult<Done> decode_object(const Target& target, Json& object, const WriteOptions& options, std::vector<std::string>& warnings) const;
  ApiResult<Done> check_namespace(const Target& target, std::string_view name) const;
  ApiResult<Done> check_service_account(const Target& target, const Object& pod) const;
  ApiResult<Done> name_object(const Target& target, Object& object) const;
  ApiResult<Done> default_and_validate(const Target& target, Object& object, const Object* before) const;
  ApiResult<Written> commit_update(const Target& target, Json object, const ObjectPtr& before, const WriteOptions& options,
                                   std::vector<std::string> warnings);
  ApiResult<Written> create_subresource(const Target& target, const Json& object, const WriteOptions& options);
  ApiResult<Written> bind(const Target& target, const Json& object, const WriteOptions& options);
  ApiResult<Written> review(const Target& target, Json object, const std::string& user) const;
  ApiResult<Written> update_scale(const Target& target, const Json& scale, const WriteOptions& options);
  ApiResult<Written> apply(const Target& target, const Json& patch, const WriteOptions& options);
  ApiResult<Json> patched(const Target& target, k8s::PatchType type, const Json& patch, const Json& current) const;
  ApiResult<ObjectPtr> existing(const Target& target) const;
  ApiResult<ObjectPtr> save(const Kind& kind, Json object);
  // engine_delete.cc
  ApiResult<Deleted> delete_gracefully(const Target& target, const ObjectPtr& object, const DeleteRequest& request,
                                       std::int64_t grace_seconds);
  ApiResult<ObjectPtr> erase(const Kind& kind, const StoredObject& object);

  Store& store_;
  ServiceAllocator& allocator_;
  WatchHub hub_;
  KindTable kinds_;
};

// metadata_rules.cc
void validate_metadata(const Kind& kind, const Object& object, const Object* before, FieldErrors& errors);
std::string make_uid();
std::string random_suffix();  // five of Kubernetes' letters

// Is nothing left that holds a deleted object back?
bool ready_to_go(const Kind& kind, const Json& object);

}  // namespace fairway::apiserver
