// HttpApi: HTTP requests to the engine's verbs, and its answers to Kubernetes' wire forms (JSON, Table, watch lines).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apiserver/api_server.h"
#include "apiserver/body_reader.h"
#include "apiserver/engine.h"
#include "apiserver/table.h"
#include "io/http_server.h"
#include "io/loop.h"

namespace fairway::apiserver {

class HttpApi {
 public:
  HttpApi(io::Loop& loop, Engine& engine, const ApiServerConfig& config) : loop_(loop), engine_(engine), config_(config) {}
  void handle(io::ServerRequest request, std::unique_ptr<io::Responder> responder);

 private:
  struct Route {
    Target target;
    std::string group, version;
  };
  using ResponderPtr = std::unique_ptr<io::Responder>;

  // The user's name; empty: nobody we know.
  std::string authenticate(const io::ServerRequest& request) const;
  void handle_resource(const Route& route, io::ServerRequest request, ResponderPtr responder);
  void handle_discovery(const io::ServerRequest& request, const std::vector<std::string>& parts, ResponderPtr responder);
  void handle_faults(const io::ServerRequest& request, ResponderPtr responder);
  void serve_stream(const Target& target, io::ServerRequest request, ResponderPtr responder);

  void read(const Target& target, const io::ServerRequest& request, ResponderPtr responder);
  void list(const Target& target, const io::ServerRequest& request, ResponderPtr responder);
  void watch(const Target& target, const io::ServerRequest& request, ResponderPtr responder);
  void write(const Target& target, const io::ServerRequest& request, ResponderPtr responder);
  void remove(const Target& target, const io::ServerRequest& request, ResponderPtr responder);
  void remove_collection(const Target& target, const io::ServerRequest& request, ResponderPtr responder);

  io::Loop& loop_;
  Engine& engine_;
  const ApiServerConfig& config_;
  struct Faults {
    unsigned refuse = 0;  // answer so many requests with 503
    unsigned expire = 0;  // answer so many watches with 410
  } faults_;
};

// answers.cc
void answer_json(io::Responder& responder, int status, std::string body, const std::vector<std::string>& warnings = {},
                 std::string_view content_type = "application/json");
void answer_error(io::Responder& responder, const ApiError& error);

// How the client wants to see objects (its Accept header).
struct OutputForm {
  bool table = false;
  bool metadata_only = false;  // PartialObjectMetadata(List)
  IncludeObject include = IncludeObject::kMetadata;
};
ApiResult<OutputForm> output_form(const io::ServerRequest& request);

// The body as JSON, whatever its media type; `message` types protobuf bodies.
ApiResult<Body> read_body(const io::ServerRequest& request, const Message* message);

bool parse_bool(std::string_view text);  // as Go's ParseBool; anything else is false

}  // namespace fairway::apiserver
