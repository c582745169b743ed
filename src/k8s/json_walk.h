// JsonWalk: how a decoder looks at values whose types it does not trust: a wrong type is told to bad(), null is absence,
// and the walk goes on behind it. Internal to k8s/ (it brings simdjson along); broken JSON shows as simdjson's exception.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <string_view>

namespace fairway::k8s {

namespace od = simdjson::ondemand;

class JsonWalk {
 public:
  virtual ~JsonWalk() = default;

 protected:
  virtual void bad(std::string_view field, std::string_view reason) = 0;

  static bool is_null(od::value& value) { return value.type() == od::json_type::null; }
  void text(od::value value, std::string_view field, std::string_view& to) {
    switch (value.type()) {
      case od::json_type::string:
        to = value.get_string();
        return;
      case od::json_type::null:
        return;
      default:
        bad(field, "is not a text");
    }
  }
  template <typename Bool>
  void boolean(od::value value, std::string_view field, Bool& to) {
    switch (value.type()) {
      case od::json_type::boolean:
        to = bool(value.get_bool());
        return;
      case od::json_type::null:
        return;
      default:
        bad(field, "is not true or false");
    }
  }
  template <typename Number>
  void number(od::value value, std::string_view field, Number& to) {
    switch (value.type()) {
      case od::json_type::number: {
        std::int64_t n = 0;
        if (value.get_int64().get(n) != simdjson::SUCCESS) bad(field, "is not a whole number");
        else to = n;
        return;
      }
      case od::json_type::null:
        return;
      default:
        bad(field, "is not a number");
    }
  }
  template <typename Each>
  void fields(od::value value, std::string_view field, Each each) {
    switch (value.type()) {
      case od::json_type::object:
        for (auto f : value.get_object()) each(std::string_view(f.unescaped_key()), od::value(f.value()));
        return;
      case od::json_type::null:
        return;
      default:
        bad(field, "is not an object");
    }
  }
  template <typename Each>
  void items(od::value value, std::string_view field, Each each) {
    switch (value.type()) {
      case od::json_type::array:
        for (auto item : value.get_array()) each(od::value(item.value()));
        return;
      case od::json_type::null:
        return;
      default:
        bad(field, "is not a list");
    }
  }
  void texts(od::value value, std::string_view field, std::vector<std::string_view>& to) {
    items(value, field, [&](od::value v) {
      std::string_view one;
      text(v, field, one);
      to.push_back(one);
    });
  }
};

}  // namespace fairway::k8s
