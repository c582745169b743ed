// watch_decode: the watch stream's bytes to slim objects, pods of 10 KB, one core.
#include <boost/json.hpp>

#include "core/cluster_data.h"
#include "core/cpu.h"
#include "core/harness.h"
#include "k8s/decode.h"
#include "k8s/watch_stream.h"

namespace fairway::bench {

namespace {

constexpr std::size_t kPodBytes = 10'000, kPods = 200, kPiece = 64 << 10;  // as a socket hands them over

template <typename Body>
double megabytes_per_second(std::chrono::milliseconds length, double bytes_a_turn, Body body) {
  auto begin = std::chrono::steady_clock::now();
  double bytes = 0;
  std::chrono::duration<double> took{};
  do {
    body();
    bytes += bytes_a_turn;
    took = std::chrono::steady_clock::now() - begin;
  } while (took < length);
  return bytes / took.count() / 1e6;
}

Status run(Context& context, std::vector<Row>& rows) {
  context.progress("watch_decode");
  const Options& o = context.options;
  Pinned pinned(o.one_cpu);
  std::string stream;
  std::vector<std::string> lines;
  for (unsigned i = 0; i < kPods; ++i) {
    lines.push_back(event_json("MODIFIED", pod_json(i, kPodBytes)));
    stream += lines.back();
  }
  k8s::Decoder decoder(k8s::Kind::kPod);
  std::size_t seen = 0;
  k8s::WatchStream watch(decoder, [&](const k8s::WatchEvent&) { seen += decoder.object().pod_ips.size(); });
  Status status;
  auto ours = [&]() -> Result<double> {
    double rate = megabytes_per_second(o.length, static_cast<double>(stream.size()), [&] {
      for (std::size_t at = 0; at < stream.size() && status.ok(); at += kPiece)
        status = watch.feed(std::string_view(stream).substr(at, kPiece));
    });
    if (!status.ok()) return status.error();
    return rate;
  };
  auto base = [&]() -> Result<double> {
    return megabytes_per_second(o.length, static_cast<double>(stream.size()), [&] {
      for (const std::string& line : lines) seen += boost::json::parse(line).as_object().size();
    });
  };
  FW_ASSIGN(Compared c, compare(o, {o.one_cpu}, ours, base));
  if (seen == 0) return make_error(Code::kInternal, "watch_decode: nothing was decoded");
  rows.push_back(row_of("watch_decode", "MB/s", c, "Boost.JSON, whole tree", Goal::at_least_value(500)));
  return {};
}

}  // namespace

std::vector<Family> decode_rows() { return {{{"watch_decode"}, run}}; }

}  // namespace fairway::bench
