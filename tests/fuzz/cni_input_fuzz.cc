// What a container runtime pipes into the plugin: the plugin's own scan, and the agent's parse of the request around it.
// fuzz-deps: fw_cni
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "cni/json_scan.h"
#include "cni/names.h"
#include "cni/render.h"
#include "cni/request.h"

using namespace fairway::cni;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  JsonScan scan(input);
  std::size_t members = 0;
  const bool object = scan.scan([&](std::string_view, std::string_view) { ++members; });
  // As it comes, and as the configuration of each command.
  (void)parse_request(input);
  for (const char* command : {"ADD", "DEL", "CHECK", "GC", "STATUS"}) {
    const std::string body = std::string(R"({"command":")") + command +
                             R"(","containerId":"c1","netns":"/run/netns/x","ifname":"eth0","args":"","config":)" + std::string(input) +
                             "}";
    const auto parsed = parse_request(body);
    if (const auto* request = std::get_if<CniRequest>(&parsed)) {
      // What the agent takes, the plugin must not have refused; and what it made of it is within bounds.
      if (!object || !is_valid_id(request->attachment.container_id.empty() ? "c" : request->attachment.container_id)) std::abort();
      if (request->ips.size() > 2) std::abort();
    } else {
      (void)render_error(std::get<RequestError>(parsed).version, std::get<RequestError>(parsed).error);
    }
  }
  // The journal's records have a checksum, but a wrong one must not bring the agent down either.
  if (auto endpoint = parse_endpoint(input); endpoint.ok()) {
    const auto again = parse_endpoint(render_endpoint(*endpoint));
    if (!again.ok() || !(*again == *endpoint)) std::abort();
  }
  return 0;
}
