// An API server of its own on 127.0.0.1 over TLS, on a thread of its own, and kubectl to drive it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "apiserver/api_server.h"
#include "io/http_server.h"
#include "io/pki.h"
#include "sys/process.h"

namespace fairway::e2e {

namespace fs = std::filesystem;

// kubectl of this minor where it stands beside the plain one (kubectl-wire.md 0.3), else the plain one; empty: none.
inline std::string kubectl_path(const std::string& minor) {
  const char* path = ::getenv("PATH");
  std::stringstream folders(path != nullptr ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    std::error_code error;
    const fs::path plain = fs::canonical(fs::path(folder) / "kubectl", error);
    if (error) continue;
    const fs::path versioned = plain.parent_path() / ("kubectl." + minor);
    return fs::exists(versioned) ? versioned.string() : plain.string();
  }
  return {};
}

class Cluster {
 public:
  Cluster() {
    folder = (fs::temp_directory_path() / ("fw-kubectl-" + std::to_string(::getpid()))).string();
    fs::remove_all(folder);
    fs::create_directories(folder + "/home");
    ca = io::make_ca("test").value();
    certificate = io::issue_certificate(ca, {.common_name = "server", .addresses = {"127.0.0.1"}, .server = true}).value();
    start();
    std::ofstream(folder + "/ca.pem") << ca.certificate_pem;
    std::ofstream(folder + "/config")
        << "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: \"https://127.0.0.1:" << port
        << "\", certificate-authority: \"" << folder
        << "/ca.pem\"}}]\nusers: [{name: u, user: {token: secret}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n";
  }
  ~Cluster() {
    stop();
    fs::remove_all(folder);
  }

  void start() {
    std::promise<void> ready;
    thread = std::thread([&] {
      io::Loop event_loop;
      apiserver::ApiServerConfig config;
      config.db_path = folder + "/api.db";
      config.service_ranges = {net::Prefix::parse("10.96.0.0/16").value(), net::Prefix::parse("fd00:10:96::/112").value()};
      config.bearer_tokens["secret"] = "admin";
      auto api = apiserver::ApiServer::create(event_loop, config).value();
      io::HttpServerConfig http;
      http.tls = io::ServerTls{certificate.certificate_pem, certificate.key_pem, ca.certificate_pem};
      auto server = io::HttpServer::create(event_loop, http, [&](io::ServerRequest request, std::unique_ptr<io::Responder> responder) {
                      api->handle(std::move(request), std::move(responder));
                    }).value();
      auto listener = io::listen_tcp("127.0.0.1", port).value();
      port = io::local_port(listener).value();
      if (!server->serve(std::move(listener)).ok()) std::abort();
      loop = &event_loop;
      ready.set_value();
      event_loop.run();
      server.reset();
    });
    ready.get_future().wait();
  }
  void stop() {
    if (!thread.joinable()) return;
    loop->stop();
    thread.join();
  }

  struct Output {
    int code;
    std::string out, err;
    std::string all() const { return out + err; }
  };
  Output run(const std::vector<std::string>& arguments, const std::string& input = "", const std::vector<std::string>& variables = {}) {
    std::vector<std::string> argv{"/usr/bin/env", "HOME=" + folder + "/home", "KUBECONFIG=" + folder + "/config"};
    argv.insert(argv.end(), variables.begin(), variables.end());
    argv.push_back(kubectl);
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    auto done = sys::run(argv, input, std::chrono::seconds(60));
    if (!done.ok()) return {-1, "", done.error().message};
    return {done->exit_code, done->out, done->err};
  }
  // One line, words split at blanks.
  Output operator()(const std::string& line, const std::string& input = "") {
    std::stringstream words(line);
    std::vector<std::string> arguments;
    for (std::string word; words >> word;) arguments.push_back(word);
    return run(arguments, input);
  }
  Output apply(const std::string& yaml) { return run({"apply", "-f", "-"}, yaml); }

  std::string folder, kubectl;
  std::uint16_t port = 0;

 private:
  io::KeyPair ca, certificate;
  std::thread thread;
  io::Loop* loop = nullptr;
};

}  // namespace fairway::e2e
