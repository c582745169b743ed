// cni_fixture: a CniServer on a unix socket, with rows that are files and the kernel's routing as the datapath.
// Tests and benchmarks start it, kill it, and start it again; the rows outlive it as pinned maps outlive the agent.
//
//   cni_fixture NETNS DIR [key=value ...]
//     DIR holds agent.sock, state/, spool/, rows/. Keys: cidr (repeated), mtu, cool-down, gc-grace (seconds),
//     kill-at (step), fail-add (1: the sink refuses), unavailable (text)
// Says "ready" on stdout once it serves.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "cni/cni_server.h"
#include "cni/render.h"
#include "hostnet/sysctl.h"
#include "io/http_server.h"
#include "sys/file.h"
#include "sys/netns.h"

using namespace fairway;

namespace {

class FileSink final : public cni::EndpointSink {
 public:
  FileSink(std::string dir, bool refuse) : dir_(std::move(dir)), refuse_(refuse) {}
  Status add(const model::LocalEndpoint& endpoint) override {
    if (refuse_) return make_error(Code::kExhausted, "map endpoints: update: No space left on device");
    return sys::write_file_atomic(path(endpoint), cni::render_endpoint(endpoint));
  }
  void admit(const model::LocalEndpoint&, std::function<void(Status)> done) override { done({}); }
  Status remove(const model::LocalEndpoint& endpoint) override {
    if (::unlink(path(endpoint).c_str()) < 0 && errno != ENOENT) return errno_error(errno, "remove row");
    return {};
  }
  Status check(const model::LocalEndpoint& endpoint) override {
    FW_ASSIGN(const std::string text, sys::read_file(path(endpoint)));
    if (text != cni::render_endpoint(endpoint))
      return make_error(Code::kConflict, "row of " + endpoint.host_ifname + " is not that of its ADD");
    return {};
  }

 private:
  std::string path(const model::LocalEndpoint& endpoint) const { return dir_ + "/" + endpoint.host_ifname; }
  std::string dir_;
  bool refuse_;
};

struct Options {
  cni::PodNetwork network;
  cni::CniServerConfig config;
  bool fail_add = false;
  std::string unavailable;
};

Status parse_option(const std::string& text, Options& out) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos) return make_error(Code::kInvalid, text);
  const std::string key = text.substr(0, equals), value = text.substr(equals + 1);
  if (key == "cidr") {
    FW_ASSIGN(const net::Prefix prefix, net::Prefix::parse(value));
    out.network.pod_cidrs.push_back(prefix);
  } else if (key == "mtu") {
    out.network.mtu = static_cast<std::uint32_t>(std::atoi(value.c_str()));
  } else if (key == "cool-down") {
    out.config.cool_down = std::chrono::seconds(std::atoi(value.c_str()));
  } else if (key == "gc-grace") {
    out.config.gc_grace = std::chrono::seconds(std::atoi(value.c_str()));
  } else if (key == "workers") {
    out.config.workers = static_cast<unsigned>(std::atoi(value.c_str()));
  } else if (key == "kill-at") {
    out.config.on_step = [value](std::string_view step) {
      if (step == value) ::kill(::getpid(), SIGKILL);
    };
  } else if (key == "fail-add") {
    out.fail_add = true;
  } else if (key == "unavailable") {
    out.unavailable = value;
  } else {
    return make_error(Code::kInvalid, "unknown option " + key);
  }
  return {};
}

Status enter(const std::string& netns) {
  FW_ASSIGN(const sys::Fd fd, sys::open_netns(netns));
  if (::setns(fd.get(), CLONE_NEWNET) < 0) return errno_error(errno, "enter " + netns);
  FW_TRY(hostnet::ensure_sysctl("net/ipv4/ip_forward", "1"));
  return hostnet::ensure_sysctl("net/ipv6/conf/all/forwarding", "1");
}

void answer(cni::CniServer& server, io::ServerRequest request, std::unique_ptr<io::Responder> responder) {
  auto shared = std::make_shared<std::unique_ptr<io::Responder>>(std::move(responder));
  if (request.path == "/warnings") {
    io::HttpResponse response;
    for (const auto& text : server.warnings()) response.body += text + "\n";
    return (*shared)->respond(std::move(response));
  }
  server.handle(request.body, [shared](cni::CniReply reply) {
    io::HttpResponse response{.status = reply.http_status, .body = std::move(reply.body)};
    response.headers.set("Content-Type", "application/json");
    (*shared)->respond(std::move(response));
  });
}

Status serve(const std::string& netns, const std::string& dir, Options options) {
  FW_TRY(enter(netns));
  ::mkdir((dir + "/rows").c_str(), 0700);
  FileSink sink(dir + "/rows", options.fail_add);
  options.config.state_dir = dir + "/state";
  options.config.spool_dir = dir + "/spool";
  io::Loop loop;
  FW_ASSIGN(const auto server, cni::CniServer::create(loop, std::move(options.config), sink));
  FW_TRY(server->adopt());
  server->set_network(std::move(options.network));
  server->set_unavailable(options.unavailable);
  FW_ASSIGN(const auto http, io::HttpServer::create(loop, {}, [&](io::ServerRequest request, std::unique_ptr<io::Responder> responder) {
              answer(*server, std::move(request), std::move(responder));
            }));
  FW_ASSIGN(sys::Fd listener, io::listen_unix(dir + "/agent.sock"));
  FW_TRY(http->serve(std::move(listener)));
  const auto on_term = loop.on_signal(SIGTERM, [&] { loop.stop(); });
  std::puts("ready");
  std::fflush(stdout);
  loop.run();
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fputs("usage: cni_fixture NETNS DIR [key=value ...]\n", stderr);
    return 2;
  }
  Options options;
  for (int i = 3; i < argc; ++i) {
    if (Status status = parse_option(argv[i], options); !status.ok()) {
      std::fprintf(stderr, "%s\n", status.error().message.c_str());
      return 2;
    }
  }
  if (Status status = serve(argv[1], argv[2], std::move(options)); !status.ok()) {
    std::fprintf(stderr, "cni_fixture: %s\n", status.error().message.c_str());
    return 1;
  }
  return 0;
}
