// fairway-agnhost: the part of Kubernetes' agnhost test image that network tests use: netexec, connect,
// serve-hostname, pause. Same commands, flags and answers; https://github.com/kubernetes/kubernetes/tree/master/test/images/agnhost
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <map>
#include <string>
#include <vector>

namespace fairway::agnhost {

// --name=value, --name value, --flag; the rest in order.
struct Args {
  std::map<std::string, std::string> flags;
  std::vector<std::string> words;
  std::string get(const std::string& name, const std::string& otherwise) const {
    auto it = flags.find(name);
    return it == flags.end() ? otherwise : it->second;
  }
};
Args parse_args(int argc, char** argv, int from);

struct Request {
  std::string method, path;
  std::map<std::string, std::string> query, headers;  // header names in lower case
  std::string body, client;                           // client: "1.2.3.4:5678"
};
struct Response {
  int code = 200;
  std::string body;
};
using Handler = Response (*)(const Request&);

std::string address_text(const sockaddr_storage& address);  // "1.2.3.4:80", "[fd00::1]:80"
std::string host_name();
int listen_on(int type, unsigned short port);  // dual-stack; -1 with a message on stderr
// Serves HTTP/1.1 for ever, a thread a connection.
int serve_http(unsigned short port, Handler handler);
// One GET. code -1: the error's text is in the body.
Response http_get(const std::string& host, const std::string& port, const std::string& target, int timeout_ms);
Response udp_ask(const std::string& host, const std::string& port, const std::string& message, int timeout_ms);
// Connects; -1 and `why`: TIMEOUT, REFUSED, DNS: …, OTHER: …
int dial(const std::string& host, const std::string& port, int type, int timeout_ms, std::string& why);
std::string url_decode(const std::string& text);
std::string json_string(const std::string& text);
int duration_ms(const std::string& text);  // "300ms", "2s", "1m"; a number alone is seconds
// Servers that tell the host's name, on each port of a list ("80,81"), in threads of their own: over TCP on connection
// (every_ms > 0: again and again, until the client goes), over UDP when asked.
bool start_servers(const std::string& ports, bool tcp, bool udp, int every_ms = 0);

int netexec(const Args& args);
int serve_hostname(const Args& args);
int connect_command(const Args& args);
int probe(const Args& args);
int follow(const Args& args);
Response answer_dial(const Request& request);

}  // namespace fairway::agnhost
