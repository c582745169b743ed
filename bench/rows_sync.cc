// From the API's bytes to the maps: svc_cold_sync_30k, all at once, and endpoint_change, one event at a time.
// All of it is the agent's own code (fairway_flow.h); what is missing of the agent is the socket.
#include <fmt/format.h>

#include "core/cluster_data.h"
#include "core/cpu.h"
#include "core/harness.h"
#include "core/sandbox.h"
#include "core/stats.h"
#include "fairway_flow.h"

namespace fairway::bench {

namespace {

constexpr unsigned kPageItems = 500, kEndpoints = 4;

double seconds_of(const std::function<Status()>& body, Status& status) {
  auto begin = std::chrono::steady_clock::now();
  status = body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

FairwayFlow::Pages pages_of(unsigned count) {
  FairwayFlow::Pages out;
  for (unsigned begin = 0; begin < count; begin += kPageItems) {
    std::vector<std::string> services, slices;
    for (unsigned i = begin; i < std::min(begin + kPageItems, count); ++i) {
      services.push_back(service_json(i));
      slices.push_back(slice_json(i, usual_endpoints(i, kEndpoints), 8080, 1));
    }
    out[k8s::Kind::kService].push_back(list_json("ServiceList", "v1", services));
    out[k8s::Kind::kEndpointSlice].push_back(list_json("EndpointSliceList", "discovery.k8s.io/v1", slices));
  }
  return out;
}

// The rows that the flow wrote, written again by one batch call a map: the least that any program could do.
Result<double> bare_batch(datapath::Datapath& empty, const compile::services::Assignment& from) {
  std::vector<std::uint32_t> backend_keys, slot_keys, slot_values;
  std::vector<fw_backend> backends;
  std::vector<fw_frontend_key> frontend_keys;
  std::vector<fw_frontend> frontends;
  from.for_each_backend([&](std::uint32_t id, const fw_backend& row) {
    backend_keys.push_back(id);
    backends.push_back(row);
  });
  from.for_each_slot([&](std::uint32_t index, std::uint32_t id) {
    slot_keys.push_back(index);
    slot_values.push_back(id);
  });
  from.for_each_frontend([&](const fw_frontend_key& key, const fw_frontend& row) {
    frontend_keys.push_back(key);
    frontends.push_back(row);
  });
  Status status;
  double seconds = seconds_of(
      [&]() -> Status {
        FW_TRY(empty.backends().update_batch(backend_keys, backends));
        FW_TRY(empty.svc_slots().update_batch(slot_keys, slot_values));
        return empty.frontends().update_batch(frontend_keys, frontends);
      },
      status);
  if (!status.ok()) return std::move(status).error();
  return seconds;
}

Status cold_sync(Context& context, std::vector<Row>& rows) {
  const Options& o = context.options;
  unsigned count = o.quick ? 500 : 30'000;
  const auto pages = pages_of(count);
  double bytes = 0;
  for (const auto& [kind, list] : pages)
    for (const auto& page : list) bytes += static_cast<double>(page.size());
  std::vector<double> whole, apply, growth, bare, ratios;
  std::size_t rows_written = 0;
  for (unsigned round = 0; round < o.rounds; ++round) {
    context.progress(fmt::format("svc_cold_sync_30k, round {}", round + 1));
    FW_ASSIGN(auto node, Node::create(context, "sync", 1));
    FW_ASSIGN(auto empty, Node::create(context, "bare", 2));
    FairwayFlow flow(*node);
    Status status;
    whole.push_back(seconds_of([&] { return flow.list(pages); }, status) * 1e3);
    FW_TRY(std::move(status));
    apply.push_back(flow.map_seconds() * 1e3);
    growth.push_back(flow.growth_seconds() * 1e3);
    rows_written = flow.rows_written();
    const auto& assigned = flow.assignment();
    FW_TRY(empty->reserve({.frontends = assigned.frontends(), .svc_slots = assigned.slots_used(), .backends = assigned.backends()}));
    FW_ASSIGN(double least, bare_batch(empty->datapath(), assigned));
    bare.push_back(least * 1e3);
    ratios.push_back(apply.back() / bare.back());
  }
  Compared c{
      .ours = median(apply), .base = median(bare), .ratio = median(ratios), .spread = percentile(ratios, 100) - percentile(ratios, 0)};
  Row part = row_of("svc_cold_sync_30k", "ms", c, "the same rows by bare batch calls", Goal::ratio_at_most(1.5));
  part.note = fmt::format("{} Services x {}: {} rows", count, kEndpoints, rows_written);
  Row all{.name = "svc_cold_sync_30k_whole",
          .ours = median(whole),
          .unit = "ms",
          .note = fmt::format("decode, reflect, compile, apply: {:.1f} MB of JSON; of it {:.0f} ms to make the tables larger, once",
                              bytes / 1e6, median(growth))};
  rows.insert(rows.end(), {part, all});
  return {};
}

// One endpoint of a random Service is replaced, the event's bytes in, all rows written when it returns.
Result<std::vector<double>> changes(Context& context, unsigned services, unsigned events) {
  FW_ASSIGN(auto node, Node::create(context, "chg" + std::to_string(services), 1));
  FairwayFlow flow(*node);
  const auto pages = pages_of(services);
  FW_TRY(flow.list(pages));
  std::vector<double> out;
  unsigned long long at = 12345;
  for (unsigned i = 0; i < events; ++i) {
    at = at * 6364136223846793005ull + 1442695040888963407ull;
    auto service = static_cast<unsigned>((at >> 33) % services);
    auto endpoints = usual_endpoints(service, kEndpoints);
    endpoints[i % kEndpoints] = endpoint_addr(service, kEndpoints + i % 4);
    std::string line = event_json("MODIFIED", slice_json(service, endpoints, 8080, 2 + i));
    Status status;
    out.push_back(seconds_of([&] { return flow.slice_event(line); }, status) * 1e6);
    FW_TRY(std::move(status));
  }
  out.erase(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(events / 10));  // warm
  return out;
}

Status endpoint_change(Context& context, std::vector<Row>& rows) {
  const Options& o = context.options;
  unsigned events = o.quick ? 100 : 5'000;
  unsigned rounds = o.quick ? 1 : 3;
  std::vector<double> p99, p50, ratios, small, large;
  for (unsigned round = 0; round < rounds; ++round) {
    context.progress(fmt::format("endpoint_change, round {}", round + 1));
    FW_ASSIGN(auto few, changes(context, o.quick ? 100 : 1'000, events));
    FW_ASSIGN(auto middle, changes(context, o.quick ? 200 : 10'000, events));
    FW_ASSIGN(auto many, changes(context, o.quick ? 300 : 30'000, events));
    p99.push_back(percentile(middle, 99) / 1e3);
    p50.push_back(percentile(middle, 50));
    small.push_back(median(few));
    large.push_back(median(many));
    ratios.push_back(large.back() / small.back());
  }
  Row latency{.name = "endpoint_change",
              .ours = median(p99),
              .unit = "ms",
              .goal = Goal::at_most_value(1),
              .note = fmt::format("p99 at 10,000 Services x {}; p50 {:.0f} µs", kEndpoints, median(p50))};
  Compared c{
      .ours = median(large), .base = median(small), .ratio = median(ratios), .spread = percentile(ratios, 100) - percentile(ratios, 0)};
  rows.push_back(latency);
  rows.push_back(row_of("endpoint_change_flat", "µs", c, "p50 at 1,000 Services, ours at 30,000", Goal::ratio_at_most(1.1)));
  return {};
}

Status run(Context& context, std::vector<Row>& rows) {
  Pinned pinned(context.options.one_cpu);  // as the agent's control thread has one on a quiet node
  if (context.wants("svc_cold_sync_30k")) FW_TRY(cold_sync(context, rows));
  if (context.wants("endpoint_change")) FW_TRY(endpoint_change(context, rows));
  return {};
}

}  // namespace

std::vector<Family> sync_rows() { return {{{"svc_cold_sync_30k", "endpoint_change"}, run}}; }

}  // namespace fairway::bench
