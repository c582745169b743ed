// What the plugin sends: one CNI call, parsed and checked (CNI specification 1.1.0, and 0.3.1 on). Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "model/local_endpoint.h"
#include "net/ip.h"

namespace fairway::cni {

// The specification's error codes, and ours from 100 on.
enum class ErrorCode : unsigned {
  kIncompatibleVersion = 1,
  kUnsupportedField = 2,
  kUnknownContainer = 3,
  kInvalidEnvironment = 4,
  kIo = 5,
  kDecode = 6,
  kInvalidConfig = 7,
  kTryAgainLater = 11,
  kNotAvailable = 50,
  kLimitedConnectivity = 51,
  kNetworkSetup = 100,
  kCheckFailed = 101,
};

struct CniError {
  ErrorCode code = ErrorCode::kNetworkSetup;
  std::string message;
  std::string details;
};

enum class Command { kAdd, kDel, kCheck, kStatus, kGc, kVersion };

inline constexpr std::string_view kLatestVersion = "1.1.0";
inline constexpr std::string_view kSupportedVersions[] = {"0.3.1", "0.4.0", "1.0.0", "1.1.0"};

struct Attachment {
  std::string container_id;
  std::string ifname;
  auto operator<=>(const Attachment&) const = default;
};

struct DnsConfig {
  std::vector<std::string> nameservers, search, options;
  std::string domain;
  bool empty() const { return nameservers.empty() && search.empty() && options.empty() && domain.empty(); }
};

struct CniRequest {
  Command command = Command::kVersion;
  std::string version{kLatestVersion};  // of the configuration: the answer speaks it
  Attachment attachment;                // ADD, DEL, CHECK
  std::string netns;                    // may be empty at DEL
  model::Name pod;                      // from CNI_ARGS
  std::string pod_uid;
  DnsConfig dns;
  std::vector<net::IpAddr> ips;  // runtimeConfig: at most one a family
  std::optional<net::MacAddr> mac;
  std::vector<model::PortMapping> port_mappings;
  model::Bandwidth bandwidth;
  std::vector<net::IpAddr> previous_ips;      // CHECK: from prevResult
  std::vector<Attachment> valid_attachments;  // GC
};

inline constexpr std::size_t kMaxRequestBytes = 1 << 20;

// An error also carries the version to answer in, as far as the body gave one.
struct RequestError {
  CniError error;
  std::string version{kLatestVersion};
};
std::variant<CniRequest, RequestError> parse_request(std::string_view body);

}  // namespace fairway::cni
