// The sizes and offsets of bpf/abi, pinned: the kernel's maps outlive the program that made them, so a layout changes
// only together with FW_ABI_VERSION.
#include <cstddef>

#include "abi/drops.h"
#include "abi/endpoints.h"
#include "abi/flows.h"
#include "abi/policy.h"
#include "abi/services.h"
#include "abi/version.h"

namespace {

static_assert(FW_ABI_VERSION == 2);
static_assert(sizeof(fw_addr) == 16);
static_assert(sizeof(fw_endpoint) == 24 && offsetof(fw_endpoint, mac) == 16);
static_assert(sizeof(fw_local_if) == 48 && offsetof(fw_local_if, flags) == 44);
static_assert(sizeof(fw_node) == 40 && offsetof(fw_node, mode) == 32);
static_assert(sizeof(fw_config) == 136 && offsetof(fw_config, flags) == 84 && offsetof(fw_config, host_service_mac) == 128);
static_assert(sizeof(fw_frontend_key) == 24 && offsetof(fw_frontend_key, port_be) == 16);
static_assert(sizeof(fw_frontend) == 24);
static_assert(sizeof(fw_backend) == 32 && offsetof(fw_backend, generation) == 20);
static_assert(sizeof(fw_flow_key) == 40 && offsetof(fw_flow_key, protocol) == 36);
static_assert(sizeof(fw_flow) == 64 && offsetof(fw_flow, check) == 36);
static_assert(sizeof(fw_fragment_key) == 40 && sizeof(fw_fragment) == 8);
static_assert(sizeof(fw_sock_origin) == 40);
static_assert(sizeof(fw_metric) == 16);
static_assert(sizeof(fw_policy_state) == 8);
static_assert(sizeof(fw_subject) == 32 && offsetof(fw_subject_version, rule) == 8);
static_assert(sizeof(fw_peer_class) == 8 && sizeof(fw_cidr_key) == 24 && offsetof(fw_cidr_key, family) == 4);
static_assert(sizeof(fw_port_chunk) == 512);
static_assert(sizeof(fw_verdict_key) == 12 && offsetof(fw_verdict_key, direction) == 10);
static_assert(sizeof(fw_verdict_row) == 12 && offsetof(fw_verdict_row, verdict) == 8);
static_assert(sizeof(fw_track_key) == 40 && offsetof(fw_track_key, protocol) == 36);
static_assert(sizeof(fw_track) == 32 && offsetof(fw_track, flags) == 24);
static_assert(sizeof(fw_hit_key) == 40 && offsetof(fw_hit_key, rule) == 36 && sizeof(fw_hit) == 16);
static_assert(sizeof(fw_denied_key) == 12);

}  // namespace
