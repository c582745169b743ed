// Problems: what could not be honoured, said with object, field and reason ("nothing fails silently").
//
// Every stage of the flow says for an object all that it has to say at once, which replaces what it said before; an
// empty list takes it back. `fairway status` shows all stages together. Belongs to the control thread.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fairway::model {

struct Problem {
  std::string field;  // "spec.ports[1].port", or the map or device that refused
  std::string reason;
  bool operator==(const Problem&) const = default;
};

enum class Stage { kReflect, kAdmit, kCompile, kApply, kAgent };

class Problems {
 public:
  // `object`: "Service default/web".
  void set(Stage stage, std::string_view object, std::vector<Problem> problems) {
    const auto key = std::pair(std::string(object), stage);
    if (problems.empty()) all_.erase(key);
    else all_.insert_or_assign(key, std::move(problems));
  }
  void clear(Stage stage, std::string_view object) {
    if (!all_.empty()) all_.erase({std::string(object), stage});
  }
  void for_each(const std::function<void(const std::string& object, const Problem&)>& visit) const {
    for_each_staged([&](Stage, const std::string& object, const Problem& problem) { visit(object, problem); });
  }
  void for_each_staged(const std::function<void(Stage, const std::string& object, const Problem&)>& visit) const {
    for (const auto& [key, list] : all_)
      for (const Problem& problem : list) visit(key.second, key.first, problem);
  }
  std::size_t size() const { return all_.size(); }

 private:
  std::map<std::pair<std::string, Stage>, std::vector<Problem>> all_;
};

}  // namespace fairway::model
