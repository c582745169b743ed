// ApiStub: as much of an API server as an agent needs: lists in pages, and watches on which nothing happens. Objects are
// made as they are asked for, so that a large cluster costs no memory here.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "core/child.h"

namespace fairway::bench {

struct Listing {
  unsigned count = 0;
  std::function<std::string(unsigned)> object;
};

struct ApiStub {
  // By path: "/api/v1/pods". Serves http://127.0.0.1:PORT in the place's namespace, in a process of its own.
  static Result<Child> start(const Place& place, std::uint16_t port, std::map<std::string, Listing> listings);
  // A kubeconfig that leads there.
  static std::string kubeconfig(std::uint16_t port);
};

}  // namespace fairway::bench
