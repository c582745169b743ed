// Small tools of fairway-shim. The shim has no library below it but libc: its memory is paid once a container.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>

namespace fairway::shim {

[[noreturn]] void die(const char* what);  // with errno, to stderr
void set_nonblocking(int fd);
bool write_all(int fd, const char* data, std::size_t size);
// Replaces `path` at once: a reader sees the old or the new text.
bool write_file(const std::string& path, const std::string& text);
std::string read_small_file(const std::string& path);
long long now_ns();
// A close-on-exec unix socket that listens; SOCK_SEQPACKET keeps messages apart.
int listen_seqpacket(const std::string& path);
// The last error of runc's JSON log: the text between the quotes, still escaped as JSON.
std::string last_runc_error(const std::string& log_path);

}  // namespace fairway::shim
