// Store: one shared Informer of a resource, with indexes, many listeners, and a way to wait until the copy has
// caught up with one's own writes. A reconcile ends only then, so the next one of the same key never acts on a
// copy older than what it did (Kubernetes keeps "expectations" for that).
//
// Pointers from a Store are valid until control goes back to the loop: copy before co_await.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "controllers/api.h"
#include "k8s/informer.h"

namespace fairway::controllers {

class Store {
 public:
  using Key = k8s::Informer::Key;
  using Listener = std::function<void(const Key&, const Json* before, const Json* after)>;
  using IndexBy = std::function<std::vector<std::string>(const Json&)>;

  Store(Api& api, ResourceRef ref, k8s::ListOptions options = {});

  // Before open().
  void add_index(std::string name, IndexBy by);
  void subscribe(Listener listener) { listeners_.push_back(std::move(listener)); }
  void on_synced(std::function<void()> task) { on_synced_ = std::move(task); }
  void open();

  const ResourceRef& ref() const { return ref_; }
  ResourceRef ref_to(std::string_view key, std::string subresource = {}) const;
  bool synced() const { return informer_ && informer_->synced(); }
  const Json* find(std::string_view key) const;
  std::vector<const Json*> all() const;
  std::vector<const Json*> all_in(std::string_view ns) const;  // by the built-in index
  std::vector<const Json*> by(std::string_view index, std::string_view value) const;

  // Waits until `condition` holds, looked at after each change here; at most 3 s, as a deletion that
  // came in between can make it unreachable. Then the reconcile goes on, level-triggered.
  class Wait;
  Wait until(std::function<bool()> condition);
  Wait caught_up_with(const Json& written);
  Wait removal_seen(std::string key, std::string uid);

 private:
  struct Index {
    IndexBy by;
    std::unordered_map<std::string, std::set<Key>> keys;
  };
  struct Waiter {
    std::function<bool()> condition;
    std::weak_ptr<Promise<bool>> promise;
  };
  void changed(const Key& key, const Json* before, const Json* after);
  void wake();
  static void index(Index& index, const Key& key, const Json* before, const Json* after);

  Api& api_;
  ResourceRef ref_;
  k8s::ListOptions options_;
  std::map<std::string, Index, std::less<>> indexes_;
  std::vector<Listener> listeners_;
  std::function<void()> on_synced_;
  std::uint64_t seen_version_ = 0;
  std::list<Waiter> waiters_;
  std::shared_ptr<int> alive_ = std::make_shared<int>();
  std::unique_ptr<k8s::Informer> informer_;  // last: its callbacks use the rest
};

class Store::Wait {
 public:
  Wait(Store& store, std::function<bool()> condition) : store_(store), condition_(std::move(condition)) {}
  bool await_ready() const { return condition_(); }
  void await_suspend(std::coroutine_handle<> frame);
  bool await_resume() const { return condition_(); }

 private:
  Store& store_;
  std::function<bool()> condition_;
  std::shared_ptr<Promise<bool>> promise_;
  io::Loop::Timer timeout_;
};

}  // namespace fairway::controllers
