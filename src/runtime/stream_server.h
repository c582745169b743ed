// StreamServer: exec, attach, logs and port-forward on the runtime's socket (docs/architecture.md). Exec and attach
// are handed over to a fairway-shim with the connection itself; the others are served here.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/result.h"
#include "io/loop.h"
#include "runtime/json.h"
#include "runtime/node.h"
#include "sys/fd.h"

namespace fairway::runtime {

class Pod;

class StreamServer {
 public:
  using FindPod = std::function<Pod*(const std::string& ns, const std::string& name)>;
  StreamServer(Node& node, FindPod find_pod);
  ~StreamServer();
  Status start(const std::string& path);

  // One connection being served here: destroyed when it ends.
  class Session {
   public:
    virtual ~Session() = default;
  };

 private:
  struct Head;
  struct Refusal {
    int code;
    std::string reason, message;
  };
  void accept();
  void head_readable(Head& head);
  void dispatch(sys::Fd client, const Json& request);
  std::optional<Refusal> serve(sys::Fd& client, const Json& request);
  std::optional<Refusal> exec(sys::Fd& client, Pod& pod, const Json& request);
  std::optional<Refusal> attach(sys::Fd& client, Pod& pod, const Json& request);
  std::optional<Refusal> logs(sys::Fd& client, Pod& pod, const Json& request);
  std::optional<Refusal> port_forward(sys::Fd& client, Pod& pod, const Json& request);
  std::function<void()> ender(unsigned id);

  Node& node_;
  FindPod find_pod_;
  sys::Fd listener_;
  io::Loop::Watch accept_watch_;
  unsigned next_id_ = 0;
  std::map<unsigned, std::unique_ptr<Head>> heads_;
  std::map<unsigned, std::unique_ptr<Session>> sessions_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace fairway::runtime
