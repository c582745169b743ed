// Garbage collector: objects whose owners are all gone go too, and deletions in the foreground wait for dependents.
//
// Keys are "resource.group|namespace/name". It watches every kind but Events, custom ones included. An owner that the
// copies do not know is looked up live before anything is deleted: a copy may be late, a deletion cannot be undone.
#pragma once

#include <map>
#include <memory>
#include <set>

#include "controllers/controller.h"

namespace fairway::controllers {

class GarbageCollector : public Controller {
 public:
  explicit GarbageCollector(Context& context);

 private:
  struct Watched {
    Kind kind;
    Store* store = nullptr;
    std::unique_ptr<Store> own;  // where no other controller has one
  };
  struct Owners {
    std::vector<Json> solid, dangling, waiting;
  };
  void on_start() override;
  Task<Status> reconcile(Key key) override;
  void watch_kind(const Kind& kind);
  void follow_definitions();
  void changed(const std::string& id, const Store::Key& key, const Json* before, const Json* after);

  Task<Status> judge(std::string id, Store::Key key, Json object);
  Task<Result<Owners>> sort_owners(Json object);
  Task<Result<std::optional<Json>>> look_up(Json reference, std::string ns);
  Task<Status> drop_references(std::string id, Store::Key key, Json object, std::vector<Json> references);
  Task<Status> finish_foreground(std::string id, Store::Key key, Json object);
  Task<Status> finish_orphan(std::string id, Store::Key key, Json object);
  Task<Status> drop_finalizer(std::string id, Store::Key key, Json object, std::string_view finalizer);
  bool has_blocking_dependents(const Json& owner) const;

  std::map<std::string, Watched> watched_;                     // by Kind::id()
  std::unordered_map<std::string, std::set<Key>> dependents_;  // our keys, by the owner's uid
  std::unordered_map<std::string, Key> by_uid_;
};

}  // namespace fairway::controllers
