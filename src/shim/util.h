// Small tools of fairway-shim. The shim has no library below it but libc: its memory is paid once a container.
#pragma once

#include <sys/types.h>
#include <sys/un.h>

#include <cstddef>
#include <string>

namespace fairway::shim {

[[noreturn]] void die(const char* what);  // with errno, to stderr
void set_nonblocking(int fd);
bool write_all(int fd, const char* data, std::size_t size);
// What a non-blocking fd takes of it; it is dropped where nobody reads (also fd -1). False: some is left.
bool write_some(int fd, std::string& data);
// Replaces `path` at once: a reader sees the old or the new text.
bool write_file(const std::string& path, const std::string& text);
std::string read_small_file(const std::string& path);
long long now_ns();
sockaddr_un unix_address(const std::string& path);  // dies where the path is too long
// One message, and the descriptor that came with it (-1: none), which is the caller's to close. The message's size, or recvmsg's -1.
ssize_t receive_with_fd(int socket, void* data, std::size_t size, int& passed);
// All children that have ended; the status of `pid` where it is one of them.
bool reap_children(int signals, pid_t pid, int& wait_status);
// A close-on-exec unix socket that listens; SOCK_SEQPACKET keeps messages apart.
int listen_seqpacket(const std::string& path);
// The last error of runc's JSON log: the text between the quotes, still escaped as JSON.
std::string last_runc_error(const std::string& log_path);

}  // namespace fairway::shim
