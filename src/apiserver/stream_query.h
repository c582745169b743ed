// The queries of exec, attach, log and port-forward, as requests to the node's runtime. Private to apiserver/streams.
#pragma once

#include <boost/json/fwd.hpp>

#include "apiserver/api_error.h"
#include "apiserver/streams.h"

namespace fairway::apiserver {

struct ExecOptions {
  bool input = false, output = false, error = false, tty = false;
};
ApiResult<ExecOptions> parse_exec_options(const io::ServerRequest& request);

// `op` is exec or attach.
ApiResult<boost::json::object> make_exec_request(const io::ServerRequest& request, const StreamTarget& target, const ExecOptions& options,
                                                 const char* op);
ApiResult<boost::json::object> make_log_request(const io::ServerRequest& request, const StreamTarget& target);
boost::json::object make_portforward_request(const StreamTarget& target, std::uint16_t port);

void respond_error(io::Responder& responder, const ApiError& error);
// The first of the subprotocols we know that the client offers, or empty. The list may span header lines.
std::string choose_subprotocol(const io::Headers& headers, std::string_view header, const std::vector<std::string>& known);
bool wants_websocket(const io::ServerRequest& request);

}  // namespace fairway::apiserver
