#include "runtime/cni.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "runtime/process.h"

namespace fairway::runtime {

namespace fs = std::filesystem;

constexpr auto kDeadline = std::chrono::seconds(60);

struct Cni::Network {
  std::string name, version;
  std::vector<Json> plugins;
};

struct Cni::Chain {
  std::string command;
  Network network;
  Attachment attachment;
  Json extra;  // fields for the whole config: cni.dev/valid-attachments
  Json result;
  std::size_t next = 0;
  std::unique_ptr<Process> process;
  std::function<void(Result<Json>)> done;
};

Cni::Cni(io::Loop& loop, std::string conf_dir, std::vector<std::string> bin_dirs)
    : loop_(loop), conf_dir_(std::move(conf_dir)), bin_dirs_(std::move(bin_dirs)) {}
Cni::~Cni() { *alive_ = false; }

// The first file by name, as container runtimes choose it; read each time, since the agent may write it late.
Result<Cni::Network> Cni::load() const {
  std::vector<std::string> files;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(conf_dir_, ec))
    if (const auto ext = entry.path().extension(); ext == ".conflist" || ext == ".conf") files.push_back(entry.path().string());
  if (files.empty()) return make_error(Code::kUnavailable, "cni plugin not initialized: no network configuration in " + conf_dir_);
  std::sort(files.begin(), files.end());
  FW_ASSIGN(const Json conf, parse_json_file(files.front()));
  Network network{.name = text(conf, "name"), .version = text(conf, "cniVersion", "1.0.0"), .plugins = {}};
  for (const auto& plugin : array(conf, "plugins")) network.plugins.push_back(plugin);
  if (network.plugins.empty() && find(conf, "type")) network.plugins.push_back(conf);
  if (network.name.empty() || network.plugins.empty()) return make_error(Code::kInvalid, files.front() + ": names no network or no plugin");
  return network;
}

// A plugin's runtimeConfig: of what we can offer, what it says that it takes.
static JsonObject runtime_config(const Json& plugin, const Json& offered) {
  JsonObject out;
  if (!offered.is_object()) return out;
  for (const auto& [name, value] : object(plugin, "capabilities"))
    if (const Json* args = member(offered, name); value.is_bool() && value.get_bool() && args) out[name] = *args;
  return out;
}

void Cni::run(const std::string& command, bool reverse, Attachment attachment, Json extra, std::function<void(Result<Json>)> done) {
  auto network = load();
  if (!network.ok()) {
    loop_.post([alive = alive_, done = std::move(done), error = network.error()] {
      if (*alive) done(error);
    });
    return;
  }
  auto chain = std::make_shared<Chain>();
  chain->command = command;
  chain->network = std::move(*network);
  if (reverse) std::reverse(chain->network.plugins.begin(), chain->network.plugins.end());
  chain->result = attachment.result;
  chain->attachment = std::move(attachment);
  chain->extra = std::move(extra);
  chain->done = std::move(done);
  step(std::move(chain));
}

static Error plugin_error(const std::string& type, const std::string& command, const ProcessResult& result) {
  boost::system::error_code ec;
  const Json answer = boost::json::parse(result.out, ec);
  std::string why = ec ? "" : text(answer, "msg");
  if (!ec && !text(answer, "details").empty()) why += ": " + text(answer, "details");
  if (why.empty())
    why = result.timed_out
              ? "did not end within its deadline"
              : "exited with " + std::to_string(result.exit_code) + ": " + (result.err.empty() ? result.out : result.err).substr(0, 500);
  const auto code = ec ? 0 : number(answer, "code");
  return make_error(code == 11 || code == 50 || code == 51 ? Code::kUnavailable : Code::kInternal,
                    "plugin type=\"" + type + "\" failed (" + command + "): " + why);
}

void Cni::step(std::shared_ptr<Chain> chain) {
  if (chain->next == chain->network.plugins.size()) return chain->done(std::move(chain->result));
  const Json& plugin = chain->network.plugins[chain->next++];
  const std::string type = text(plugin, "type");
  std::string binary, path;
  for (const auto& dir : bin_dirs_) {
    path += (path.empty() ? "" : ":") + dir;
    if (binary.empty() && type.find('/') == std::string::npos && ::access((dir + "/" + type).c_str(), X_OK) == 0) binary = dir + "/" + type;
  }
  const auto fail_later = [&](Error error) {
    loop_.post([alive = alive_, chain, error = std::move(error)] {
      if (*alive) chain->done(error);
    });
  };
  if (binary.empty()) return fail_later(make_error(Code::kNotFound, "failed to find plugin \"" + type + "\" in path [" + path + "]"));
  Json config = plugin;
  JsonObject& c = config.get_object();
  c["name"] = chain->network.name;
  c["cniVersion"] = chain->network.version;
  if (!chain->result.is_null()) c["prevResult"] = chain->result;
  if (JsonObject offered = runtime_config(plugin, chain->attachment.capability_args); !offered.empty())
    c["runtimeConfig"] = std::move(offered);
  if (chain->extra.is_object())
    for (const auto& [key, value] : chain->extra.get_object()) c[key] = value;
  const Attachment& a = chain->attachment;
  ProcessSpec spec{.argv = {binary},
                   .env = {"CNI_COMMAND=" + chain->command, "CNI_PATH=" + path, "PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
                   .input = boost::json::serialize(config),
                   .deadline = kDeadline};
  if (!a.container_id.empty()) {
    spec.env.insert(spec.env.end(), {"CNI_CONTAINERID=" + a.container_id, "CNI_IFNAME=eth0",
                                     "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=" + a.pod_namespace + ";K8S_POD_NAME=" + a.pod_name +
                                         ";K8S_POD_INFRA_CONTAINER_ID=" + a.container_id + ";K8S_POD_UID=" + a.pod_uid});
    if (!a.netns.empty()) spec.env.push_back("CNI_NETNS=" + a.netns);
  }
  auto process = Process::start(loop_, std::move(spec), [this, chain, type, alive = alive_](ProcessResult result) {
    auto keep = std::move(chain->process);
    if (!*alive) return;
    if (result.exit_code != 0) return chain->done(plugin_error(type, chain->command, result));
    if (chain->command == "ADD") {
      boost::system::error_code ec;
      chain->result = boost::json::parse(result.out, ec);
      if (ec || !chain->result.is_object())
        return chain->done(
            make_error(Code::kInvalid, "plugin type=\"" + type + "\" answered what is no result: " + result.out.substr(0, 200)));
    }
    step(chain);
  });
  if (!process.ok()) return fail_later(std::move(process).error());
  chain->process = std::move(*process);
}

void Cni::add(Attachment attachment, std::function<void(Result<Json>)> done) {
  run("ADD", false, std::move(attachment), {}, std::move(done));
}

static std::function<void(Result<Json>)> without_value(std::function<void(Status)> done) {
  return [done = std::move(done)](Result<Json> result) { done(result.ok() ? Status() : Status(std::move(result).error())); };
}

void Cni::del(Attachment attachment, std::function<void(Status)> done) {
  run("DEL", true, std::move(attachment), {}, without_value(std::move(done)));
}
void Cni::status(std::function<void(Status)> done) { run("STATUS", false, {}, {}, without_value(std::move(done))); }

void Cni::gc(const std::vector<std::string>& valid, std::function<void(Status)> done) {
  JsonArray attachments;
  for (const auto& id : valid) attachments.push_back(JsonObject{{"containerID", id}, {"ifname", "eth0"}});
  run("GC", false, {}, JsonObject{{"cni.dev/valid-attachments", attachments}, {"cni.dev/attachments", attachments}},
      without_value(std::move(done)));
}

std::vector<std::string> cni_addresses(const Json& result) {
  std::vector<std::string> out;
  for (const auto& ip : array(result, "ips"))
    if (const std::string address = text(ip, "address"); !address.empty()) out.push_back(address.substr(0, address.find('/')));
  return out;
}

}  // namespace fairway::runtime
