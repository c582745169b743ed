#include "runtime_file_api.h"

#include <sys/stat.h>

#include <boost/json.hpp>
#include <filesystem>

#include "k8s/informer.h"
#include "sys/file.h"

namespace fairway::test {

namespace fs = std::filesystem;
using k8s::Json;

namespace {

struct OneCall final : k8s::Call {
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);
};

void merge(Json& into, const Json& patch) {
  if (!patch.is_object() || !into.is_object()) {
    into = patch;
    return;
  }
  for (const auto& [key, value] : patch.get_object()) {
    if (value.is_null()) into.get_object().erase(key);
    else if (value.is_object() && into.get_object().contains(key)) merge(into.get_object()[key], value);
    else into.get_object()[key] = value;
  }
}

}  // namespace

struct FileApi::Watcher final : k8s::Call {
  k8s::ResourceRef ref;
  k8s::WatchCallbacks callbacks;
  std::map<std::string, std::string> seen;
};

// The call that the client holds; the watcher itself is shared with the scan.
struct WatchHandle final : k8s::Call {
  std::shared_ptr<k8s::Call> watcher;
};

FileApi::FileApi(io::Loop& loop, std::string dir) : loop_(loop), dir_(std::move(dir)) {
  timer_ = loop_.every(std::chrono::milliseconds(20), [this] { scan(); });
}

std::string FileApi::path(const k8s::ResourceRef& ref) const {
  return dir_ + "/" + ref.resource + "/" + (ref.ns.empty() ? "_" : ref.ns) + "/" + ref.name + ".json";
}

Result<Json> FileApi::read(const k8s::ResourceRef& ref) const {
  // The version is the file's time: it rises with each write, also with the test's. Asked for before the content:
  // a write between the two is then seen as another version next time.
  struct stat st {};
  ::stat(path(ref).c_str(), &st);
  auto content = sys::read_file(path(ref));
  if (!content.ok()) return make_error(Code::kNotFound, ref.resource + " \"" + ref.name + "\" not found");
  boost::system::error_code ec;
  Json value = boost::json::parse(*content, ec);
  if (ec) return make_error(Code::kInvalid, path(ref));
  value.get_object()["metadata"].as_object()["resourceVersion"] =
      std::to_string(st.st_mtim.tv_sec * 1'000'000LL + st.st_mtim.tv_nsec / 1000);
  return value;
}

Result<Json> FileApi::write(const k8s::ResourceRef& ref, Json object) {
  std::error_code ec;
  fs::create_directories(fs::path(path(ref)).parent_path(), ec);
  FW_TRY(sys::write_file_atomic(path(ref), boost::json::serialize(object)));
  return object;
}

std::map<std::string, Json> FileApi::all(const k8s::ResourceRef& ref) const {
  std::map<std::string, Json> out;
  std::error_code ec;
  for (const auto& ns : fs::directory_iterator(dir_ + "/" + ref.resource, ec))
    for (const auto& file : fs::directory_iterator(ns, ec)) {
      if (file.path().extension() != ".json") continue;
      k8s::ResourceRef one = ref;
      one.ns = ns.path().filename() == "_" ? "" : ns.path().filename().string();
      one.name = file.path().stem();
      if (auto object = read(one); object.ok()) out[k8s::key_of(*object)] = std::move(*object);
    }
  return out;
}

k8s::CallPtr FileApi::answer(k8s::Done done, Result<Json> result) {
  auto call = std::make_unique<OneCall>();
  loop_.post(
      [alive = std::weak_ptr<bool>(call->alive), done = std::move(done), result = std::make_shared<Result<Json>>(std::move(result))] {
        if (!alive.expired()) done(std::move(*result));
      });
  return call;
}

k8s::CallPtr FileApi::get(const k8s::ResourceRef& ref, k8s::Done done) { return answer(std::move(done), read(ref)); }

k8s::CallPtr FileApi::list(const k8s::ResourceRef& ref, const k8s::ListOptions&, k8s::Done done) {
  boost::json::array items;
  for (auto& [key, object] : all(ref)) items.push_back(object);
  return answer(std::move(done),
                Json(boost::json::object{{"metadata", boost::json::object{{"resourceVersion", "1"}}}, {"items", std::move(items)}}));
}

k8s::CallPtr FileApi::create(const k8s::ResourceRef& ref, Json object, k8s::Done done) {
  k8s::ResourceRef one = ref;
  one.name = std::string(object.at("metadata").at("name").as_string());
  if (fs::exists(path(one))) return answer(std::move(done), make_error(Code::kAlreadyExists, one.name + " already exists"));
  if (!object.at("metadata").as_object().contains("uid")) object.get_object()["metadata"].as_object()["uid"] = "uid-" + one.name;
  return answer(std::move(done), write(one, std::move(object)));
}

k8s::CallPtr FileApi::update(const k8s::ResourceRef& ref, Json object, k8s::Done done) {
  return answer(std::move(done), write(ref, std::move(object)));
}

k8s::CallPtr FileApi::patch(const k8s::ResourceRef& ref, k8s::PatchType, Json patch, k8s::Done done) {
  auto object = read(ref);
  if (!object.ok()) return answer(std::move(done), std::move(object));
  merge(*object, patch);
  return answer(std::move(done), write(ref, std::move(*object)));
}

k8s::CallPtr FileApi::remove(const k8s::ResourceRef& ref, const k8s::DeleteOptions&, k8s::Done done) {
  auto object = read(ref);
  std::error_code ec;
  fs::remove(path(ref), ec);
  return answer(std::move(done), std::move(object));
}

k8s::CallPtr FileApi::watch(const k8s::ResourceRef& ref, const k8s::ListOptions&, k8s::WatchCallbacks callbacks) {
  auto watcher = std::make_shared<Watcher>();
  watcher->ref = ref;
  watcher->callbacks = std::move(callbacks);
  watchers_[watcher.get()] = watcher;
  auto handle = std::make_unique<WatchHandle>();
  handle->watcher = watcher;
  return handle;
}

void FileApi::scan() {
  const auto watchers = watchers_;
  for (const auto& [raw, weak] : watchers) {
    const auto watcher = weak.lock();
    if (!watcher) {
      watchers_.erase(raw);
      continue;
    }
    auto now = all(watcher->ref);
    std::map<std::string, std::string> seen;
    for (auto& [key, object] : now) {
      const std::string version(object.at("metadata").at("resourceVersion").as_string());
      const auto old = watcher->seen.find(key);
      if (old == watcher->seen.end()) watcher->callbacks.on_event(k8s::EventType::kAdded, object);
      else if (old->second != version) watcher->callbacks.on_event(k8s::EventType::kModified, object);
      seen[key] = version;
    }
    for (const auto& [key, version] : watcher->seen)
      if (!seen.contains(key)) {
        const auto slash = key.find('/');
        boost::json::object metadata{{"name", slash == std::string::npos ? key : key.substr(slash + 1)}, {"resourceVersion", version}};
        if (slash != std::string::npos) metadata["namespace"] = key.substr(0, slash);
        watcher->callbacks.on_event(k8s::EventType::kDeleted, boost::json::object{{"metadata", std::move(metadata)}});
      }
    watcher->seen = std::move(seen);
  }
}

}  // namespace fairway::test
