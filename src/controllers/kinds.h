// Kinds: which resources exist, by API version and kind: the built-in ones and those of CustomResourceDefinitions.
// For the namespace controller, which empties all, and the garbage collector, which finds owners by kind.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "k8s/api_client.h"

namespace fairway::controllers {

struct Kind {
  std::string group;
  std::string version;
  std::string kind;
  std::string resource;
  bool namespaced = true;
  k8s::ResourceRef ref() const;
  std::string id() const { return resource + "." + group; }  // one entry a resource, whatever the version
};

class Kinds {
 public:
  Kinds();
  // A CustomResourceDefinition as it is now, or, with `after` null, gone.
  void learn(const std::string& name, const k8s::Json* after);
  std::vector<Kind> all() const;
  // Any served version of the group answers.
  std::optional<Kind> find(std::string_view api_version, std::string_view kind) const;

 private:
  std::vector<Kind> built_in_;
  std::map<std::string, Kind> custom_;  // by the definition's name
};

}  // namespace fairway::controllers
