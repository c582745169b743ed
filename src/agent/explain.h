// fairway explain: the way of a connection, told from the tables in force, and by the programs themselves.
//
// Place: GET /v1/explain/departure and GET /v1/explain/arrival (docs/architecture.md). A node tells what it decides itself: the name,
// the Service and its endpoints, the egress verdict and the route where the source is; the ingress verdict where the destination
// is. `fairway explain` (src/cli/explain.cc) asks both and puts it together.
// Everything is looked up as the datapath does (datapath/policy_lookup.h), then the programs are run over the same packet
// (datapath/dry_run.h): where the two differ it is said. Nothing is written, nothing is sent.
// Belongs to the control thread. A departure loads the programs once more, see docs/decisions/0010.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "agent/tables.h"
#include "io/http_server.h"

namespace fairway::agent {

// As it was asked; every field has been checked and is short.
struct Question {
  std::string from, to;  // "outside", an address, [pod/|svc/|node/]name, namespace/name, a DNS name
  std::string ns = "default";
  std::string port;                      // a number or a name; empty: not given
  std::optional<std::uint8_t> protocol;  // IPPROTO; nothing: not given
  bool v6 = false;
};
Result<Question> parse_question(const io::ServerRequest& request);

// kNotFound, kInvalid: what cannot be asked, with what can.
Result<std::string> explain_departure(const View& view, const Question& question);
// Both ends are addresses, and `to` is a pod of this node.
Result<std::string> explain_arrival(const View& view, const Question& question);

}  // namespace fairway::agent
