// fairway-cni: the CNI plugin's process. Wraps one call (environment and stdin) into a request to the agent's socket and
// prints the answer; the agent does the work (docs/cni.md).
//
// Its start-up time is part of every pod's, so: static against musl (docs/decisions/0012), no allocation, no framework, and
// of the C++ library nothing that throws (substr() does). It answers alone what needs no agent: VERSION, malformed input, and
// DEL while the agent is away, which it keeps in the spool folder.
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <string_view>

#include "cni/json_scan.h"
#include "cni/names.h"
#include "cni/spool_name.h"

namespace {

using fairway::cni::JsonScan;

constexpr size_t kMaxConfigBytes = 900 << 10;  // with the rest below the agent's limit of 1 MiB
constexpr size_t kMaxVariableBytes = 8 << 10;
constexpr size_t kMaxAnswerBytes = 1 << 20;
constexpr time_t kAnswerSeconds = 60;
constexpr char kDefaultSocket[] = "/run/fairway/agent.sock";
constexpr char kDefaultSpool[] = "/var/lib/fairway/cni-spool";

enum : int {
  kInvalidEnvironment = 4,
  kIoFailure = 5,
  kDecodeFailure = 6,
  kInvalidConfig = 7,
  kTryAgainLater = 11,
  kNotAvailable = 50,
  kInternal = 100
};

char config[kMaxConfigBytes + 1];
char body[kMaxConfigBytes + 16 * kMaxVariableBytes];
char answer[kMaxAnswerBytes + 1];

// A text of fixed size that notes when it did not fit.
struct Text {
  char* data;
  size_t capacity;
  size_t size = 0;
  bool overflow = false;

  void add(std::string_view piece) {
    if (piece.size() > capacity - size) {
      overflow = true;
      return;
    }
    memcpy(data + size, piece.data(), piece.size());
    size += piece.size();
  }
  void add_json_string(std::string_view piece) {
    add("\"");
    for (const char c : piece) {
      char escaped[8];
      if (c == '"' || c == '\\') {
        escaped[0] = '\\';
        escaped[1] = c;
        add({escaped, 2});
      } else if (static_cast<unsigned char>(c) < 0x20) add({escaped, static_cast<size_t>(snprintf(escaped, sizeof escaped, "\\u%04x", c))});
      else add({&c, 1});
    }
    add("\"");
  }
};

struct Call {
  std::string_view command, container_id, netns, ifname, args, path;
  std::string_view config;
  char version[16] = "1.1.0";
  char socket_path[sizeof(sockaddr_un::sun_path)];
  char spool_dir[512];
};

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    text.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

// The CNI error object on stdout; returns the exit code.
__attribute__((format(printf, 3, 4))) int fail(const Call& call, int code, const char* format, ...) {
  char message[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  char buffer[8192];
  Text out{buffer, sizeof buffer};
  char head[96];
  out.add({head, static_cast<size_t>(snprintf(head, sizeof head, "{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":", call.version, code))});
  out.add_json_string(message);
  out.add("}\n");
  write_all(STDOUT_FILENO, {out.data, out.size});
  return 1;
}

std::string_view variable(const char* name) {
  const char* value = getenv(name);
  return value != nullptr ? std::string_view(value) : std::string_view();
}

bool read_config(Call& call) {
  size_t size = 0;
  while (size < sizeof config) {
    const ssize_t n = read(STDIN_FILENO, config + size, sizeof config - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    if (n == 0) break;
    size += static_cast<size_t>(n);
  }
  call.config = {config, size};
  return true;
}

// A path out of the configuration, as it stands there: one with escapes is refused rather than misread.
template <size_t kSize>
bool copy_path(std::string_view value, char (&out)[kSize]) {
  if (value.size() >= kSize || value.empty() || value[0] != '/' || value.find('\\') != std::string_view::npos) return false;
  memcpy(out, value.data(), value.size());
  out[value.size()] = '\0';
  return true;
}

// 0, or the exit code.
int understand_config(Call& call) {
  const char* bad_field = nullptr;
  strcpy(call.socket_path, kDefaultSocket);
  strcpy(call.spool_dir, kDefaultSpool);
  JsonScan scan(call.config);
  const bool object = scan.scan([&](std::string_view key, std::string_view value) {
    if (key == "cniVersion" && !value.empty() && value.size() < sizeof call.version &&
        value.find_first_not_of("0123456789.") == std::string_view::npos) {
      memcpy(call.version, value.data(), value.size());
      call.version[value.size()] = '\0';
    }
    if (key == "agentSocket" && !copy_path(value, call.socket_path)) bad_field = "agentSocket";
    if (key == "spoolDir" && !copy_path(value, call.spool_dir)) bad_field = "spoolDir";
  });
  if (!object)
    return fail(call, kDecodeFailure, "cannot decode the network configuration: not a JSON object, or malformed at byte %zu",
                scan.position());
  if (bad_field != nullptr)
    return fail(call, kInvalidConfig, "invalid network configuration: %s: is not an absolute path of fitting length", bad_field);
  return 0;
}

// 0, or the exit code. The agent checks more; this is what a spooled DEL relies on.
int understand_environment(Call& call) {
  call.container_id = variable("CNI_CONTAINERID");
  call.netns = variable("CNI_NETNS");
  call.ifname = variable("CNI_IFNAME");
  call.args = variable("CNI_ARGS");
  call.path = variable("CNI_PATH");
  for (const auto value : {call.container_id, call.netns, call.ifname, call.args, call.path})
    if (value.size() > kMaxVariableBytes)
      return fail(call, kInvalidEnvironment,
                  "invalid environment: one of CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS, CNI_PATH is too long");
  if (call.command == "STATUS" || call.command == "GC") return 0;
  if (!fairway::cni::is_valid_id(call.container_id))
    return fail(call, kInvalidEnvironment, "invalid environment variable CNI_CONTAINERID: \"%s\"",
                call.container_id.data() ? call.container_id.data() : "");
  if (!fairway::cni::is_valid_ifname(call.ifname))
    return fail(call, kInvalidEnvironment, "invalid environment variable CNI_IFNAME: \"%s\"", call.ifname.data() ? call.ifname.data() : "");
  return 0;
}

Text request_body(const Call& call) {
  Text out{body, sizeof body};
  const struct {
    const char* name;
    std::string_view value;
  } fields[] = {{"{\"command\":", call.command}, {",\"containerId\":", call.container_id},
                {",\"netns\":", call.netns},     {",\"ifname\":", call.ifname},
                {",\"args\":", call.args},       {",\"path\":", call.path}};
  for (const auto& [name, value] : fields) {
    out.add(name);
    out.add_json_string(value);
  }
  out.add(",\"config\":");
  out.add(call.config);
  out.add("}");
  return out;
}

int connect_agent(const Call& call) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const timeval limit{kAnswerSeconds, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  strcpy(address.sun_path, call.socket_path);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
  const int err = errno;
  close(fd);
  errno = err;
  return -1;
}

struct Answer {
  bool complete = false;
  int status = 0;
  std::string_view body;
};

// The answer's head is the agent's own, so little of HTTP is needed: the status, and the length of the body.
Answer parse_answer(std::string_view text) {
  constexpr std::string_view kStart = "HTTP/1.1 ";
  constexpr std::string_view kLength = "\r\ncontent-length:";
  const size_t end = text.find("\r\n\r\n");
  if (end == std::string_view::npos || end < kStart.size() || memcmp(text.data(), kStart.data(), kStart.size()) != 0) return {};
  Answer out;
  out.status = atoi(text.data() + kStart.size());
  out.body = {text.data() + end + 4, text.size() - end - 4};
  for (size_t i = 0; i + kLength.size() < end; ++i) {
    if (strncasecmp(text.data() + i, kLength.data(), kLength.size()) != 0) continue;
    const unsigned long length = strtoul(text.data() + i + kLength.size(), nullptr, 10);
    out.complete = out.body.size() >= length;
    if (out.complete) out.body.remove_suffix(out.body.size() - length);
    return out;
  }
  return {};
}

Answer ask(int fd, const Text& request) {
  char head[160];
  const int size = snprintf(
      head, sizeof head,
      "POST /v1/cni HTTP/1.1\r\nHost: fairway\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
      request.size);
  if (!write_all(fd, {head, static_cast<size_t>(size)}) || !write_all(fd, {request.data, request.size})) return {};
  size_t got = 0;
  while (got < kMaxAnswerBytes) {
    const ssize_t n = read(fd, answer + got, kMaxAnswerBytes - got);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return {};
    got += static_cast<size_t>(n);
    answer[got] = '\0';
    if (const Answer whole = parse_answer({answer, got}); whole.complete) return whole;
  }
  return {};
}

bool make_folders(const char* path) {
  char part[sizeof Call::spool_dir];
  strcpy(part, path);
  for (char* slash = part + 1; (slash = strchr(slash, '/')) != nullptr; ++slash) {
    *slash = '\0';
    if (mkdir(part, 0700) < 0 && errno != EEXIST) return false;
    *slash = '/';
  }
  return mkdir(part, 0700) == 0 || errno == EEXIST;
}

// Whole or not at all, and on disk before the runtime hears of success.
bool spool(const Call& call, const Text& request) {
  char name[fairway::cni::kSpoolNameBytes];
  fairway::cni::spool_name(call.container_id, call.ifname, name);
  char temporary[640], path[640];
  snprintf(path, sizeof path, "%s/%s", call.spool_dir, name);
  snprintf(temporary, sizeof temporary, "%s/.%s.%d", call.spool_dir, name, static_cast<int>(getpid()));
  if (!make_folders(call.spool_dir)) return false;
  const int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  bool done = write_all(fd, {request.data, request.size}) && fsync(fd) == 0;
  close(fd);
  done = done && rename(temporary, path) == 0;
  if (!done) unlink(temporary);
  return done;
}

int without_agent(const Call& call, const Text& request, const char* why) {
  if (call.command == "DEL") {
    if (spool(call, request)) return 0;
    return fail(call, kTryAgainLater, "the agent at %s does not answer (%s), and the DEL cannot be kept in %s: %s", call.socket_path, why,
                call.spool_dir, strerror(errno));
  }
  const int code = call.command == "STATUS" ? kNotAvailable : kTryAgainLater;
  return fail(call, code, "the agent at %s does not answer: %s", call.socket_path, why);
}

int forward(const Call& call) {
  const Text request = request_body(call);
  if (request.overflow) return fail(call, kInvalidEnvironment, "the call is too large");
  const int fd = connect_agent(call);
  if (fd < 0) return without_agent(call, request, strerror(errno));
  const Answer got = ask(fd, request);
  close(fd);
  if (!got.complete) return without_agent(call, request, "it closed the connection or took too long");
  if (got.status != 200 && (got.body.empty() || got.body[0] != '{'))
    return fail(call, kInternal, "the agent at %s answered HTTP %d", call.socket_path, got.status);
  if (!got.body.empty() && !(write_all(STDOUT_FILENO, got.body) && write_all(STDOUT_FILENO, "\n"))) return 1;
  return got.status == 200 ? 0 : 1;
}

}  // namespace

int main() {
  Call call;
  call.command = variable("CNI_COMMAND");
  bool known = false;
  for (const auto name : {"ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"}) known = known || call.command == name;
  if (!known)
    return fail(call, kInvalidEnvironment,
                "invalid environment variable CNI_COMMAND: \"%s\" is none of ADD, DEL, CHECK, STATUS, GC, VERSION",
                call.command.data() ? call.command.data() : "");
  if (!read_config(call)) return fail(call, kIoFailure, "cannot read the network configuration from stdin: %s", strerror(errno));
  if (call.config.size() > kMaxConfigBytes)
    return fail(call, kDecodeFailure, "the network configuration is larger than %zu bytes", kMaxConfigBytes);
  if (const int code = understand_config(call); code != 0) return code;
  if (call.command == "VERSION") {
    char text[160];
    const int size = snprintf(text, sizeof text,
                              "{\"cniVersion\":\"%s\",\"supportedVersions\":[\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n", call.version);
    return write_all(STDOUT_FILENO, {text, static_cast<size_t>(size)}) ? 0 : 1;
  }
  if (const int code = understand_environment(call); code != 0) return code;
  return forward(call);
}
