#include "controllers/system_objects.h"

#include "controllers/json.h"

namespace fairway::controllers {
namespace {
constexpr std::string_view kKubernetes = "default/kubernetes";
constexpr std::string_view kDns = "kube-system/kube-dns";
constexpr std::uint64_t kFirstAddress = 1, kDnsAddress = 10;

std::string_view family_name(const net::Prefix& range) { return range.family() == net::Family::kV4 ? "IPv4" : "IPv6"; }

Json object_of(std::string_view api_version, std::string_view kind, std::string_view ns, std::string_view name) {
  return json::object{{"apiVersion", api_version}, {"kind", kind}, {"metadata", {{"name", name}, {"namespace", ns}}}};
}

// Whether all of `wanted` is in `has`; what others added (defaults, allocated fields) does not matter.
bool covers(const Json& has, const Json& wanted) {
  if (wanted.is_object()) {
    if (!has.is_object()) return false;
    for (const auto& [key, value] : wanted.get_object()) {
      const Json* there = has.get_object().if_contains(key);
      if (!there || !covers(*there, value)) return false;
    }
    return true;
  }
  if (wanted.is_array()) {
    if (!has.is_array() || has.get_array().size() != wanted.get_array().size()) return false;
    for (std::size_t i = 0; i < wanted.get_array().size(); ++i) {
      if (!covers(has.get_array()[i], wanted.get_array()[i])) return false;
    }
    return true;
  }
  return has == wanted;
}
}  // namespace

SystemObjectsController::SystemObjectsController(Context& context) : Controller(context, "system-objects", 1) {
  const auto watch = [this](const Key& key, const Json*, const Json*) {
    if (key == kKubernetes || key == kDns) enqueue(key);
  };
  stores_.services.subscribe(watch);
  stores_.endpoints.subscribe(watch);
  stores_.endpoint_slices.subscribe(watch);
}

void SystemObjectsController::on_start() {
  enqueue(std::string(kKubernetes));
  enqueue(std::string(kDns));
}

Task<Status> SystemObjectsController::reconcile(Key key) {
  if (context_.config.service_ranges.empty()) co_return Status{};
  if (key == kDns) co_return co_await keep(stores_.services, key, dns_service());
  FW_CO_TRY(co_await keep(stores_.services, key, kubernetes_service()));
  FW_CO_TRY(co_await keep(stores_.endpoints, key, kubernetes_endpoints()));
  co_return co_await keep(stores_.endpoint_slices, key, kubernetes_slice());
}

Task<Status> SystemObjectsController::keep(Store& store, Key key, Json wanted) {
  const Json* now = store.find(key);
  if (!now) {
    ResourceRef ref = store.ref();
    ref.ns = split_key(key).ns;
    co_return co_await api_.ensure_created(std::move(ref), std::move(wanted));
  }
  if (is_terminating(*now) || covers(*now, wanted)) co_return Status{};
  auto written = co_await api_.patch(store.ref_to(key), k8s::PatchType::kMerge, std::move(wanted));
  if (!written.ok()) co_return std::move(written).error();
  co_await store.caught_up_with(*written);
  co_return Status{};
}

std::vector<std::string> SystemObjectsController::api_server_ips() const {
  std::vector<std::string> ips;
  for (const auto& address : context_.config.api_server_addresses) {
    if (address.family() == context_.config.service_ranges.front().family()) ips.push_back(address.to_string());
  }
  return ips;
}

Json SystemObjectsController::kubernetes_service() const {
  const auto& range = context_.config.service_ranges.front();
  Json service = object_of("v1", "Service", "default", "kubernetes");
  place(service, "metadata")["labels"] = json::object{{"component", "apiserver"}, {"provider", "kubernetes"}};
  auto& spec = place(service, "spec");
  spec["type"] = "ClusterIP";
  if (const auto ip = range.nth(kFirstAddress)) spec["clusterIP"] = ip->to_string();
  spec["ipFamilyPolicy"] = "SingleStack";
  spec["ipFamilies"] = json::array{family_name(range)};
  spec["sessionAffinity"] = "None";
  spec["ports"] = json::array{json::object{
      {"name", "https"}, {"protocol", "TCP"}, {"port", 443}, {"targetPort", static_cast<int>(context_.config.api_server_port)}}};
  return service;
}

Json SystemObjectsController::kubernetes_endpoints() const {
  Json endpoints = object_of("v1", "Endpoints", "default", "kubernetes");
  place(endpoints, "metadata")["labels"] = json::object{{"endpointslice.kubernetes.io/skip-mirror", "true"}};
  json::array addresses;
  for (const auto& ip : api_server_ips()) addresses.push_back(json::object{{"ip", ip}});
  endpoints.get_object()["subsets"] = json::array{json::object{
      {"addresses", std::move(addresses)},
      {"ports",
       json::array{json::object{{"name", "https"}, {"port", static_cast<int>(context_.config.api_server_port)}, {"protocol", "TCP"}}}}}};
  return endpoints;
}

Json SystemObjectsController::kubernetes_slice() const {
  Json slice = object_of("discovery.k8s.io/v1", "EndpointSlice", "default", "kubernetes");
  place(slice, "metadata")["labels"] = json::object{{"kubernetes.io/service-name", "kubernetes"}};
  auto& out = slice.get_object();
  out["addressType"] = family_name(context_.config.service_ranges.front());
  json::array endpoints;
  for (const auto& ip : api_server_ips())
    endpoints.push_back(json::object{{"addresses", json::array{ip}}, {"conditions", {{"ready", true}}}});
  out["endpoints"] = std::move(endpoints);
  out["ports"] =
      json::array{json::object{{"name", "https"}, {"port", static_cast<int>(context_.config.api_server_port)}, {"protocol", "TCP"}}};
  return slice;
}

// No selector: the agents answer, on each node its own, and no pod stands behind the address.
Json SystemObjectsController::dns_service() const {
  Json service = object_of("v1", "Service", "kube-system", "kube-dns");
  place(service, "metadata")["labels"] =
      json::object{{"k8s-app", "kube-dns"}, {"kubernetes.io/cluster-service", "true"}, {"kubernetes.io/name", "Fairway-DNS"}};
  auto& spec = place(service, "spec");
  json::array ips, families;
  for (const auto& range : context_.config.service_ranges) {
    if (const auto ip = range.nth(kDnsAddress)) ips.emplace_back(ip->to_string());
    families.emplace_back(family_name(range));
  }
  spec["type"] = "ClusterIP";
  spec["clusterIP"] = ips.front();
  spec["ipFamilyPolicy"] = ips.size() > 1 ? "RequireDualStack" : "SingleStack";
  spec["clusterIPs"] = std::move(ips);
  spec["ipFamilies"] = std::move(families);
  spec["sessionAffinity"] = "None";
  spec["ports"] = json::array{json::object{{"name", "dns"}, {"protocol", "UDP"}, {"port", 53}, {"targetPort", 53}},
                              json::object{{"name", "dns-tcp"}, {"protocol", "TCP"}, {"port", 53}, {"targetPort", 53}}};
  return service;
}

}  // namespace fairway::controllers
