// LocalClient: k8s::ApiClient inside the API server's own process, on the same loop.
//
// Same verbs, admission, validation and errors as over HTTP, without bytes between. Every callback is posted, never
// run inside the call that made it; destroying the Call cancels it. Objects handed out are copies.
// As for any client, a list is consistent with a watch from its metadata.resourceVersion.
//
// Owned by ApiServer; reach it by ApiServer::local_client(). Garbage collection of dependents is not done here:
// a Background delete removes the owner at once; Foreground and Orphan set the finalizers foregroundDeletion and
// orphan, which the garbage collector (src/controllers) honours and removes. A Namespace keeps spec.finalizers
// ["kubernetes"] until the namespace controller updates its subresource `finalize` without it.
#pragma once

#include <memory>

#include "io/loop.h"
#include "k8s/api_client.h"

namespace fairway::apiserver {

class Engine;

class LocalClient : public k8s::ApiClient {
 public:
  LocalClient(io::Loop& loop, Engine& engine);
  ~LocalClient() override;

  [[nodiscard]] k8s::CallPtr get(const k8s::ResourceRef& ref, k8s::Done done) override;
  [[nodiscard]] k8s::CallPtr list(const k8s::ResourceRef& ref, const k8s::ListOptions& options, k8s::Done done) override;
  [[nodiscard]] k8s::CallPtr create(const k8s::ResourceRef& ref, k8s::Json object, k8s::Done done) override;
  [[nodiscard]] k8s::CallPtr update(const k8s::ResourceRef& ref, k8s::Json object, k8s::Done done) override;
  [[nodiscard]] k8s::CallPtr patch(const k8s::ResourceRef& ref, k8s::PatchType type, k8s::Json patch, k8s::Done done) override;
  [[nodiscard]] k8s::CallPtr remove(const k8s::ResourceRef& ref, const k8s::DeleteOptions& options, k8s::Done done) override;
  [[nodiscard]] k8s::CallPtr watch(const k8s::ResourceRef& ref, const k8s::ListOptions& options, k8s::WatchCallbacks callbacks) override;

 private:
  io::Loop& loop_;
  Engine& engine_;
};

}  // namespace fairway::apiserver
