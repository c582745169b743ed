// Namespaces: what each one has from the start (the ServiceAccount "default", the ConfigMap "kube-root-ca.crt"), and
// emptying one that is being deleted: its pods first, so that policies hold until the last of them is gone
// (CVE-2024-7598), then everything else, custom resources included; then the finalizer.
#pragma once

#include "controllers/controller.h"

namespace fairway::controllers {

class NamespaceController : public Controller {
 public:
  explicit NamespaceController(Context& context);

 private:
  Task<Status> reconcile(Key key) override;
  Task<Status> furnish(std::string ns);
  Task<Status> empty(Json ns);
  // How many objects of the kind are still there; each was asked to go.
  Task<Result<std::size_t>> sweep(ResourceRef collection);
  Task<Status> finalize(Json ns);
};

}  // namespace fairway::controllers
