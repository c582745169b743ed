// FileApi: an API server whose store is a folder, for tests of the node runtime: RESOURCE/NAMESPACE/NAME.json
// (cluster-scoped: namespace "_"). The test writes objects there and reads what the runtime made of them; the store
// outlives the process that serves it, so that a killed runtime finds its pods again.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "io/loop.h"
#include "k8s/api_client.h"

namespace fairway::test {

class FileApi final : public k8s::ApiClient {
 public:
  FileApi(io::Loop& loop, std::string dir);
  k8s::CallPtr get(const k8s::ResourceRef& ref, k8s::Done done) override;
  k8s::CallPtr list(const k8s::ResourceRef& ref, const k8s::ListOptions& options, k8s::Done done) override;
  k8s::CallPtr create(const k8s::ResourceRef& ref, k8s::Json object, k8s::Done done) override;
  k8s::CallPtr update(const k8s::ResourceRef& ref, k8s::Json object, k8s::Done done) override;
  k8s::CallPtr patch(const k8s::ResourceRef& ref, k8s::PatchType type, k8s::Json patch, k8s::Done done) override;
  k8s::CallPtr remove(const k8s::ResourceRef& ref, const k8s::DeleteOptions& options, k8s::Done done) override;
  k8s::CallPtr watch(const k8s::ResourceRef& ref, const k8s::ListOptions& options, k8s::WatchCallbacks callbacks) override;

 private:
  struct Watcher;
  std::string path(const k8s::ResourceRef& ref) const;
  Result<k8s::Json> read(const k8s::ResourceRef& ref) const;
  Result<k8s::Json> write(const k8s::ResourceRef& ref, k8s::Json object);
  std::map<std::string, k8s::Json> all(const k8s::ResourceRef& ref) const;
  k8s::CallPtr answer(k8s::Done done, Result<k8s::Json> result);
  void scan();

  io::Loop& loop_;
  std::string dir_;
  std::map<Watcher*, std::weak_ptr<Watcher>> watchers_;
  io::Loop::Timer timer_;
};

}  // namespace fairway::test
