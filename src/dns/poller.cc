#include "dns/poller.h"

#include <array>
#include <cerrno>

namespace fairway::dns {

Result<Poller> Poller::create() {
  sys::Fd fd(epoll_create1(EPOLL_CLOEXEC));
  if (!fd) return errno_error(errno, "epoll_create1");
  return Poller(std::move(fd));
}

Status Poller::add(int fd, std::uint32_t events, Handler* handler, bool shared) {
  epoll_event event{.events = events | (shared ? static_cast<std::uint32_t>(EPOLLEXCLUSIVE) : 0u), .data = {.ptr = handler}};
  if (epoll_ctl(fd_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return errno_error(errno, "epoll_ctl ADD");
  return {};
}

void Poller::change(int fd, std::uint32_t events, Handler* handler) {
  epoll_event event{.events = events, .data = {.ptr = handler}};
  (void)epoll_ctl(fd_.get(), EPOLL_CTL_MOD, fd, &event);
}

void Poller::remove(int fd) { (void)epoll_ctl(fd_.get(), EPOLL_CTL_DEL, fd, nullptr); }

void Poller::retire(std::unique_ptr<Handler> handler) {
  handler->dead = true;
  retired_.push_back(std::move(handler));
}

void Poller::wait(int timeout_ms) {
  retired_.clear();  // by what ran since the last round
  std::array<epoll_event, 64> events;
  int n = epoll_wait(fd_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
  for (int i = 0; i < n; ++i) {
    auto* handler = static_cast<Handler*>(events[static_cast<std::size_t>(i)].data.ptr);
    if (!handler->dead) handler->on_ready(events[static_cast<std::size_t>(i)].events);
  }
  retired_.clear();
}

}  // namespace fairway::dns
