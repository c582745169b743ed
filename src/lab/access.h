// Access: the lab's certificates and kubeconfigs.
#pragma once

#include "base/result.h"
#include "lab/layout.h"
#include "lab/spec.h"

namespace fairway::lab {

inline constexpr char kAdminUser[] = "kubernetes-admin";

// CA, server certificate, admin certificate, service account token, and the admin's kubeconfig. Keeps what is there.
Status create_access(const Layout& layout, const LabSpec& spec);
// The kubeconfig that a node's agent and runtime use: through the fabric, so that a cut node is cut off from the API too.
Status write_node_kubeconfig(const Layout& layout, const LabSpec& spec, const NodeSpec& node);
// A node's name is a DNS label (RFC 1123) of at most 12 characters: it goes into names of namespaces and devices.
Status check_node_name(const std::string& name);

}  // namespace fairway::lab
