// Pod to pod on one node: pod_rr, pod_crr, pod_stream, against a bare veth pair between two namespaces.
#include "core/floor.h"
#include "core/harness.h"
#include "core/sandbox.h"
#include "core/traffic.h"

namespace fairway::bench {

namespace {

constexpr std::uint16_t kPort = 7000;

struct Shape {
  const char* name;
  Kind kind;
  bool latency;  // p50, else rate
  const char* unit;
  double scale;
  Goal goal;
};
const Shape kShapes[] = {
    {"pod_rr", Kind::kTcpRr, true, "µs", 1, Goal::ratio_at_most(1.05)},
    {"pod_crr", Kind::kTcpCrr, false, "k/s", 1e-3, Goal::ratio_at_least(0.97)},
    {"pod_stream", Kind::kTcpStream, false, "Gb/s", 8e-9, Goal::ratio_at_least(0.97)},
    {"pod_udp_rr", Kind::kUdpRr, true, "µs", 1, {}},
};

Measurement measure(const Options& options, const Shape& shape, const Netns& client, unsigned cpu, net::IpAddr to) {
  return [&options, &shape, &client, cpu, to]() -> Result<double> {
    FW_ASSIGN(Measured m, run_client({.netns = client.path(), .cpu = cpu}, shape.kind, {to, kPort}, options.length));
    double rate = shape.kind == Kind::kTcpCrr ? m.median_per_second() : m.per_second;
    return (shape.latency ? m.p50_us : rate) * shape.scale;
  };
}

Status run(Context& context, std::vector<Row>& rows) {
  const Options& o = context.options;
  FW_ASSIGN(auto node, Node::create(context, "node", 1));
  FW_ASSIGN(const Netns* client, node->add_pod(2));
  FW_ASSIGN(const Netns* server, node->add_pod(3));
  FW_ASSIGN(Netns bare_client, Netns::create("bare-c"));
  FW_ASSIGN(Netns bare_server, Netns::create("bare-s"));
  FW_TRY(link(bare_client, "eth0", "192.168.9.1/24", bare_server, "eth0", "192.168.9.2/24"));
  FW_ASSIGN(auto floor, FloorNode::create("floor", 2));
  net::IpAddr bare_addr = net::IpAddr::v4(0xc0a80902);
  for (bool across : {false, true}) {
    unsigned server_cpu = across ? o.other_cpu : o.one_cpu;
    std::vector<unsigned> cpus = across ? std::vector{o.one_cpu, o.other_cpu} : std::vector{o.one_cpu};
    FW_ASSIGN(Servers ours, Servers::start({.netns = server->path(), .cpu = server_cpu}, net::Family::kV4, kPort));
    FW_ASSIGN(Servers base, Servers::start({.netns = bare_server.path(), .cpu = server_cpu}, net::Family::kV4, kPort));
    FW_ASSIGN(Servers least, Servers::start({.netns = floor->server().path(), .cpu = server_cpu}, net::Family::kV4, kPort));
    for (const Shape& shape : kShapes) {
      if (!context.wants(shape.name)) continue;
      context.progress(std::string(shape.name) + (across ? " across cores" : ""));
      FW_ASSIGN(Compared c, compare(o, cpus, measure(o, shape, *client, o.one_cpu, node->pod_addr(3)),
                                    measure(o, shape, bare_client, o.one_cpu, bare_addr)));
      // Packet cost shows on one core; a stream needs two to run at all like one.
      bool judged = across == (shape.kind == Kind::kTcpStream);
      std::string name = std::string(shape.name) + (judged ? "" : across ? "_across_cores" : "_one_core");
      rows.push_back(row_of(name, shape.unit, c, "raw veth pair", judged ? shape.goal : Goal{}));
      const bool floor_told = judged || shape.kind == Kind::kTcpStream;
      if (!floor_told || shape.goal.of == Goal::Of::kNothing) continue;
      context.progress(std::string(shape.name) + " of redirect_peer alone");
      FW_ASSIGN(Compared f, compare(o, cpus, measure(o, shape, floor->client(), o.one_cpu, floor->server_addr()),
                                    measure(o, shape, bare_client, o.one_cpu, bare_addr)));
      rows.push_back(row_of(name + "_floor", shape.unit, f, "raw veth pair"));
    }
  }
  for (Row& r : rows)
    if (r.name.starts_with("pod_stream")) r.note += (r.note.empty() ? "" : "; ") + offloads(*client, "eth0");
  return {};
}

}  // namespace

std::vector<Family> pod_rows() { return {{{"pod_rr", "pod_crr", "pod_stream", "pod_udp_rr"}, run}}; }

}  // namespace fairway::bench
