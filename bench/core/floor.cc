#include "core/floor.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include <array>

#include "hostnet/pod_link.h"
#include "hostnet/sysctl.h"
#include "sys/fd.h"
#include "sys/netns.h"

namespace fairway::bench {

namespace {

// return bpf_redirect_peer(to, 0);
Result<sys::Fd> load_redirect(std::uint32_t to) {
  const std::array<bpf_insn, 4> program = {{
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_1, .imm = static_cast<std::int32_t>(to)},
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_2, .imm = 0},
      {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect_peer},
      {.code = BPF_JMP | BPF_EXIT},
  }};
  const int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "redirect_peer", "GPL", program.data(), program.size(), nullptr);
  if (fd < 0) return make_error(Code::kUnavailable, "load the floor's program: " + std::string(strerror(-fd)));
  return sys::Fd(fd);
}

Status attach(std::uint32_t ifindex, std::uint32_t to) {
  FW_ASSIGN(const sys::Fd program, load_redirect(to));
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(ifindex), .attach_point = BPF_TC_INGRESS);
  LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = program.get());
  if (bpf_tc_hook_create(&hook) != 0 || bpf_tc_attach(&hook, &options) != 0)
    return make_error(Code::kUnavailable, "attach the floor's program");
  return {};
}

}  // namespace

Result<std::unique_ptr<FloorNode>> FloorNode::create(const std::string& name, unsigned index) {
  FW_ASSIGN(Netns netns, Netns::create(name));
  std::unique_ptr<FloorNode> node(new FloorNode(std::move(netns), index));
  FW_TRY(node->netns_.run([&] { return node->wire(); }));
  return node;
}

Status FloorNode::wire() {
  FW_TRY(hostnet::ensure_sysctl("net/ipv4/ip_forward", "1"));
  FW_ASSIGN(io::Netlink netlink, io::Netlink::open());
  std::array<hostnet::PodLink, 2> links;
  std::vector<io::Netlink> in_pods;
  for (unsigned i = 0; i < links.size(); ++i) {
    FW_ASSIGN(Netns pod, Netns::create(netns_.name().substr(4) + "-p" + std::to_string(i)));
    pods_.push_back(std::make_unique<Netns>(std::move(pod)));
    const std::string& sandbox = pods_.back()->path();
    links[i] = {.host_name = hostnet::host_link_name(sandbox, "eth0"),
                .host_mac = hostnet::host_link_mac(sandbox, "eth0"),
                .pod_name = "eth0",
                .pod_mac = hostnet::pod_link_mac({addr_of(i)}),
                .ips = {addr_of(i)}};
    FW_ASSIGN(const sys::Fd fd, sys::open_netns(sandbox));
    FW_ASSIGN(io::Netlink in_pod, hostnet::create_pod_link(netlink, fd, links[i]));
    in_pods.push_back(std::move(in_pod));
  }
  for (unsigned i = 0; i < links.size(); ++i) {
    FW_TRY(attach(links[i].host_ifindex, links[1 - i].host_ifindex));
    FW_TRY(hostnet::activate_pod_link(netlink, in_pods[i], links[i]));
  }
  return {};
}

}  // namespace fairway::bench
