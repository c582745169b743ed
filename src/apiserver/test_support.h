// For the unit tests of src/apiserver: an engine over a store in memory, and a responder that keeps what it is given.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <memory>
#include <string>

#include "apiserver/engine.h"
#include "io/http_server.h"

namespace fairway::apiserver::test {

// JSON with single quotes, for legible tests.
inline Json parse(std::string text) {
  for (char& c : text) c = c == '\'' ? '"' : c;
  return boost::json::parse(text);
}

struct Rig {
  explicit Rig(const std::string& path = "", std::vector<std::string> ranges = {"10.96.0.0/16", "fd00:10:96::/112"},
               std::size_t history = 1000)
      : store(Store::open(path, history).value()), allocator(*store, prefixes(ranges), {30000, 32767}), engine(*store, allocator) {
    if (!store->get("/namespaces", "", "default")) (void)create("", "namespaces", "{'metadata':{'name':'default'}}");
  }

  static std::vector<net::Prefix> prefixes(const std::vector<std::string>& ranges) {
    std::vector<net::Prefix> list;
    for (const std::string& range : ranges) list.push_back(net::Prefix::parse(range).value());
    return list;
  }

  // `where`: "apps/deployments", or "pods" in core.
  Target target(const std::string& where, const std::string& name = "", const std::string& subresource = "") {
    const auto slash = where.find('/');
    KindPtr kind;
    for (const KindPtr& one : engine.kinds().all()) {
      if (one->resource == where.substr(slash == std::string::npos ? 0 : slash + 1) &&
          one->group == (slash == std::string::npos ? "" : where.substr(0, slash)))
        kind = one;
    }
    EXPECT_TRUE(kind) << where;
    return {kind, kind && kind->namespaced ? "default" : "", name, subresource};
  }
  ApiResult<Written> create(const std::string& group, const std::string& resource, const std::string& json, WriteOptions options = {}) {
    return engine.create(target(group.empty() ? resource : group + "/" + resource), parse(json), options);
  }
  // The message of the refusal, or what was made.
  std::string try_create(const std::string& where, const std::string& json) {
    WriteOptions options;
    options.validation = FieldValidation::kStrict;
    auto made = engine.create(target(where), parse(json), options);
    return made.ok() ? "created" : made.error().message;
  }
  std::string try_patch(const std::string& where, const std::string& name, const std::string& json,
                        k8s::PatchType type = k8s::PatchType::kMerge) {
    auto made = engine.patch(target(where, name), type, parse(json), {});
    return made.ok() ? "patched" : made.error().message;
  }
  Json object(const std::string& where, const std::string& name) {
    auto found = engine.get(target(where, name));
    return found.ok() ? (*found)->value : Json(nullptr);
  }

  std::unique_ptr<Store> store;
  ServiceAllocator allocator;
  Engine engine;
};

struct Answer {
  int status = 0;
  io::Headers headers;
  std::string body;
  bool ended = false;
  std::function<void()> closed;  // call it: the client goes away
};

class FakeBody : public io::BodyStream {
 public:
  explicit FakeBody(std::shared_ptr<Answer> answer) : answer_(std::move(answer)) {}
  ~FakeBody() override { answer_->ended = true; }
  void write(std::string data) override { answer_->body += data; }
  std::size_t pending_bytes() const override { return 0; }
  void on_drained(std::function<void()>) override {}
  void on_closed(std::function<void()> task) override { answer_->closed = std::move(task); }

 private:
  std::shared_ptr<Answer> answer_;
};

class FakeResponder : public io::Responder {
 public:
  explicit FakeResponder(std::shared_ptr<Answer> answer) : answer_(std::move(answer)) {}
  void respond(io::HttpResponse response) override {
    answer_->status = response.status;
    answer_->headers = response.headers;
    answer_->body = response.body;
    answer_->ended = true;
  }
  std::unique_ptr<io::BodyStream> start_body(int status, io::Headers headers) override {
    answer_->status = status;
    answer_->headers = std::move(headers);
    return std::make_unique<FakeBody>(answer_);
  }
  void accept_websocket(std::string, std::function<void(Result<std::unique_ptr<io::Duplex>>)>) override { FAIL(); }
  void upgrade(io::Headers, std::function<void(Result<std::unique_ptr<io::Duplex>>)>) override { FAIL(); }
  void on_client_gone(std::function<void()>) override {}

 private:
  std::shared_ptr<Answer> answer_;
};

inline io::ServerRequest request(std::string method, const std::string& target, std::string body = "") {
  io::ServerRequest out;
  out.method = std::move(method);
  out.target = target;
  out.path = target.substr(0, target.find('?'));
  std::string query = target.find('?') == std::string::npos ? "" : target.substr(target.find('?') + 1);
  while (!query.empty()) {
    const auto end = std::min(query.find('&'), query.size());
    const std::string part = query.substr(0, end);
    out.query.emplace_back(part.substr(0, part.find('=')), part.find('=') == std::string::npos ? "" : part.substr(part.find('=') + 1));
    query.erase(0, end + 1);
  }
  out.headers.set("Authorization", "Bearer secret");
  out.headers.set("Content-Type", "application/json");
  out.body = std::move(body);
  return out;
}

}  // namespace fairway::apiserver::test
