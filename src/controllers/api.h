// Api: ApiClient's calls as things to co_await, and the deletions and creations that take "it is already so" for success.
#pragma once

#include <coroutine>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "controllers/task.h"
#include "io/loop.h"
#include "k8s/api_client.h"

namespace fairway::controllers {

using k8s::Json;
using k8s::ResourceRef;

// A wait that ends with a value. Shared by the waiting frame and by whoever fulfils it: when the frame is
// destroyed, fulfil() does nothing.
template <typename T>
struct Promise {
  std::optional<T> value;
  std::coroutine_handle<> frame;
};

template <typename T>
void fulfil(io::Loop& loop, const std::weak_ptr<Promise<T>>& weak, T value) {
  auto promise = weak.lock();
  if (!promise || promise->value) return;
  promise->value = std::move(value);
  loop.post([weak] {
    if (auto held = weak.lock()) held->frame.resume();
  });
}

class ApiCall {
 public:
  using Start = std::function<k8s::CallPtr(k8s::Done)>;
  ApiCall(io::Loop& loop, Start start) : loop_(loop), start_(std::move(start)) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> frame);
  Result<Json> await_resume();

 private:
  io::Loop& loop_;
  Start start_;
  std::shared_ptr<Promise<Result<Json>>> promise_;
  k8s::CallPtr call_;
};

class Api {
 public:
  Api(io::Loop& loop, k8s::ApiClient& client) : loop_(loop), client_(client) {}
  ApiCall get(ResourceRef ref);
  ApiCall list(ResourceRef ref);
  ApiCall create(ResourceRef ref, Json object);
  ApiCall update(ResourceRef ref, Json object);
  ApiCall patch(ResourceRef ref, k8s::PatchType type, Json patch);
  ApiCall remove(ResourceRef ref, k8s::DeleteOptions options);

  // An object that is already gone, or is another one by now, is success.
  Task<Status> ensure_removed(ResourceRef ref, k8s::DeleteOptions options);
  Task<Status> ensure_removed(ResourceRef ref);
  // An object that is already there is success.
  Task<Status> ensure_created(ResourceRef ref, Json object);

  io::Loop& loop() { return loop_; }
  k8s::ApiClient& client() { return client_; }

 private:
  io::Loop& loop_;
  k8s::ApiClient& client_;
};

}  // namespace fairway::controllers
