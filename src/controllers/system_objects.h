// What every cluster has: the Service default/kubernetes with its endpoints (the API server itself), and
// kube-system/kube-dns, whose address the pods' resolv.conf names. Written again when somebody removes or changes them.
#pragma once

#include "controllers/controller.h"

namespace fairway::controllers {

class SystemObjectsController : public Controller {
 public:
  explicit SystemObjectsController(Context& context);

 private:
  void on_start() override;
  Task<Status> reconcile(Key key) override;
  Task<Status> keep(Store& store, Key key, Json wanted);
  Json kubernetes_service() const;
  Json kubernetes_endpoints() const;
  Json kubernetes_slice() const;
  Json dns_service() const;
  std::vector<std::string> api_server_ips() const;  // of the first service range's family
};

}  // namespace fairway::controllers
