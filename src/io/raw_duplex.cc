#include "io/raw_duplex.h"

#include <utility>

namespace fairway::io {
namespace {

// Outlives its Duplex while a callback of its own runs, and no longer.
class RawUser : public Conn::User {
 public:
  std::size_t on_data(std::string_view data) override {
    if (data_) data_(data);
    return data.size();
  }
  void on_end(Status status) override {
    if (auto end = std::exchange(end_, nullptr)) end(std::move(status));
  }
  void on_drained() override {
    if (drained_) drained_();
  }
  std::function<void(std::string_view)> data_;
  std::function<void(Status)> end_;
  std::function<void()> drained_;
};

class RawDuplex : public Duplex {
 public:
  explicit RawDuplex(std::shared_ptr<Conn> conn) : conn_(std::move(conn)), user_(std::make_shared<RawUser>()) {
    conn_->set_stall_limit({});
    conn_->set_user(user_);
  }
  ~RawDuplex() override {
    if (!closed_) conn_->abort();
  }
  void start(std::function<void(std::string_view)> on_data, std::function<void(Status)> on_end) override {
    user_->data_ = std::move(on_data);
    user_->end_ = std::move(on_end);
    conn_->resume();
  }
  void write(std::string data) override { conn_->write(std::move(data)); }
  std::size_t pending_bytes() const override { return conn_->pending_bytes(); }
  void on_drained(std::function<void()> task) override { user_->drained_ = std::move(task); }
  void pause_reading(bool paused) override {
    if (paused) conn_->pause();
    else conn_->resume();
  }
  void close() override {
    closed_ = true;
    user_->data_ = nullptr;
    conn_->close();
    conn_->loop().post([weak = std::weak_ptr(user_)] {
      if (const auto user = weak.lock()) user->on_end({});
    });
  }

 private:
  std::shared_ptr<Conn> conn_;
  std::shared_ptr<RawUser> user_;
  bool closed_ = false;
};

}  // namespace

std::unique_ptr<Duplex> make_raw_duplex(std::shared_ptr<Conn> conn) { return std::make_unique<RawDuplex>(std::move(conn)); }

}  // namespace fairway::io
