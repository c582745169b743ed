#include "apiserver/runtime_stream.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <utility>

#include "apiserver/json_util.h"

namespace fairway::apiserver {
namespace {

namespace json = boost::json;

constexpr std::size_t kMaxLineBytes = 64 << 10;
constexpr std::size_t kMaxControlBytes = 64 << 10;
constexpr std::size_t kFrameHeadBytes = 5;
constexpr std::chrono::seconds kAnswerTimeout{30};

bool is_control(std::uint8_t channel) { return channel != kStdin && channel != kStdout && channel != kStderr; }

}  // namespace

RuntimeStream::RuntimeStream(io::Loop& loop, Callbacks callbacks)
    : loop_(loop), callbacks_(std::make_shared<Callbacks>(std::move(callbacks))) {}
RuntimeStream::~RuntimeStream() = default;

std::shared_ptr<RuntimeStream> RuntimeStream::open(io::Loop& loop, const std::string& socket_path, const json::object& request,
                                                   Callbacks callbacks) {
  std::shared_ptr<RuntimeStream> stream(new RuntimeStream(loop, std::move(callbacks)));
  const std::weak_ptr<RuntimeStream> weak = stream;
  stream->deadline_ = loop.after(kAnswerTimeout, [weak] {
    if (const auto self = weak.lock()) self->refuse(internal_error("the node's runtime does not answer"));
  });
  stream->dialing_ =
      io::connect_unix(loop, socket_path, [weak, line = json::serialize(request) + "\n"](Result<std::unique_ptr<io::Duplex>> made) {
        if (const auto self = weak.lock()) self->on_connected(std::move(made), line);
      });
  return stream;
}

void RuntimeStream::on_connected(Result<std::unique_ptr<io::Duplex>> made, std::string line) {
  if (over_) return;
  if (!made.ok()) return refuse(internal_error("error dialing backend: " + made.error().message));
  duplex_ = std::move(*made);
  const std::weak_ptr<RuntimeStream> weak = weak_from_this();
  duplex_->on_drained([weak] {
    const auto self = weak.lock();
    if (self && self->open_ && !self->over_ && self->callbacks_->on_drained) self->callbacks_->on_drained();
  });
  duplex_->start(
      [weak](std::string_view bytes) {
        if (const auto self = weak.lock()) self->on_bytes(bytes);
      },
      [weak](Status) {
        const auto self = weak.lock();
        if (!self) return;
        if (self->open_) return self->end();
        self->refuse(internal_error("the node's runtime ended the connection without an answer"));
      });
  duplex_->write(std::move(line));
}

void RuntimeStream::on_bytes(std::string_view bytes) {
  if (over_) return;
  if (open_) return take_frames(bytes);
  const std::size_t newline = bytes.find('\n');
  head_.append(bytes.substr(0, newline));
  if (head_.size() > kMaxLineBytes) return refuse(internal_error("the node's runtime gave too long an answer"));
  if (newline == std::string_view::npos) return;
  const std::string line = std::exchange(head_, {});
  on_answer(line);
  if (!over_) take_frames(bytes.substr(newline + 1));
}

void RuntimeStream::on_answer(std::string_view line) {
  boost::system::error_code ec;
  const json::value answer = json::parse(line, ec);
  const json::object* fields = ec ? nullptr : answer.if_object();
  const json::value* ok = fields ? fields->if_contains("ok") : nullptr;
  if (!ok || !ok->is_bool()) return refuse(internal_error("the node's runtime gave an answer that is not understood"));
  if (!ok->get_bool()) {
    const json::value* code = fields->if_contains("code");
    const int number = code && code->is_int64() ? static_cast<int>(code->get_int64()) : 500;
    const std::string reason(text_at(*fields, "reason"));
    return refuse(generic(number >= 400 && number < 600 ? number : 500, reason.empty() ? "InternalError" : reason,
                          std::string(text_at(*fields, "message"))));
  }
  open_ = true;
  deadline_.cancel();
  dialing_.reset();
  pause(true);
  callbacks_->on_open();
}

void RuntimeStream::take_frames(std::string_view bytes) {
  const auto keep = shared_from_this();
  if (paused_) {
    early_.append(bytes);  // one receive buffer at most: the socket is paused as well
    return;
  }
  while (!over_ && (!bytes.empty() || (in_payload_ && left_ == 0))) {
    if (!in_payload_) {
      const std::size_t part = std::min(kFrameHeadBytes - head_.size(), bytes.size());
      head_.append(bytes.substr(0, part));
      bytes.remove_prefix(part);
      if (head_.size() < kFrameHeadBytes) return;
      channel_ = static_cast<std::uint8_t>(head_[0]);
      left_ = 0;
      for (std::size_t i = 1; i < kFrameHeadBytes; ++i) left_ = left_ << 8 | static_cast<unsigned char>(head_[i]);
      head_.clear();
      control_.clear();
      in_payload_ = true;
      if (is_control(channel_) && left_ > kMaxControlBytes) return end();
      continue;
    }
    const std::string_view part = bytes.substr(0, left_);
    bytes.remove_prefix(part.size());
    left_ -= part.size();
    if (left_ == 0) in_payload_ = false;
    if (!is_control(channel_)) {
      if (!part.empty()) callbacks_->on_frame(channel_, part);
    } else {
      control_.append(part);
      if (left_ == 0) callbacks_->on_frame(channel_, control_);
    }
  }
}

void RuntimeStream::pause(bool paused) {
  paused_ = paused;
  if (!duplex_) return;
  if (paused || (early_.empty() && !ended_early_)) return duplex_->pause_reading(paused);
  // What was held back comes first, and only then what the socket still has.
  loop_.post([self = shared_from_this()] {
    if (self->over_ || self->paused_) return;
    self->take_frames(std::exchange(self->early_, {}));
    if (self->over_ || self->paused_) return;
    if (self->ended_early_) return self->end();
    self->duplex_->pause_reading(false);
  });
}

void RuntimeStream::send(std::uint8_t channel, std::string_view payload) {
  if (!duplex_ || over_) return;
  std::string frame;
  frame.reserve(kFrameHeadBytes + payload.size());
  frame += static_cast<char>(channel);
  for (int shift = 24; shift >= 0; shift -= 8) frame += static_cast<char>(payload.size() >> shift);
  frame += payload;
  duplex_->write(std::move(frame));
}

std::size_t RuntimeStream::pending_bytes() const { return duplex_ ? duplex_->pending_bytes() : 0; }

void RuntimeStream::close() {
  over_ = true;
  deadline_.cancel();
  dialing_.reset();
  duplex_.reset();
  // The callbacks hold the caller; they go in a turn of their own, as one of them may be running.
  if (callbacks_) loop_.post([callbacks = std::exchange(callbacks_, nullptr)] {});
}

void RuntimeStream::refuse(ApiError error) {
  if (over_) return;
  const auto keep = shared_from_this();
  const auto callbacks = callbacks_;
  close();
  callbacks->on_refused(std::move(error));
}

void RuntimeStream::end() {
  if (over_) return;
  if (paused_ || !early_.empty()) {
    ended_early_ = true;  // what came before is seen before
    return;
  }
  const auto keep = shared_from_this();
  const auto callbacks = callbacks_;
  close();
  callbacks->on_end();
}

}  // namespace fairway::apiserver
