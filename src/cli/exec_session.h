// Exec over WebSocket (v5.channel.k8s.io), with this terminal at the other end where one is asked for.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "io/http_client.h"
#include "io/loop.h"

namespace fairway::cli {

struct ExecRequest {
  std::string path;  // .../pods/NAME/exec
  std::string container;
  std::vector<std::string> command;
  bool tty = false;
  bool stdin_open = false;
};

// The command's exit code.
Result<int> run_exec(io::Loop& loop, io::HttpClient& client, const ExecRequest& request);

}  // namespace fairway::cli
