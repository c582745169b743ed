// Get, list, and the scale subresource.
#include <fmt/format.h>

#include <charconv>

#include "apiserver/crd_schema.h"
#include "apiserver/engine.h"
#include "apiserver/formats.h"
#include "apiserver/selectors.h"

namespace fairway::apiserver {
namespace {

// A continue token names the revision of the first page and the last key of this one.
std::string make_token(std::uint64_t revision, const StoredObject& last) {
  return base64_encode(fmt::format("{}\n{}\n{}", revision, last.ns, last.name));
}

struct Token {
  std::uint64_t revision = 0;
  Store::Key after;
};

std::optional<std::string> base64_decode(std::string_view text) {
  if (!is_base64(text)) return std::nullopt;
  std::string out;
  std::uint32_t group = 0;
  int bits = 0;
  for (char c : text) {
    if (c == '=') break;
    const auto digit = std::string_view("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/").find(c);
    if (digit == std::string_view::npos) continue;
    group = group << 6 | static_cast<std::uint32_t>(digit);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out += static_cast<char>(group >> bits & 0xff);
    }
  }
  return out;
}

ApiResult<Token> parse_token(std::string_view text) {
  const auto plain = base64_decode(text);
  const ApiError wrong = bad_request("continue key is not valid: the token was not made by this server");
  if (!plain) return wrong;
  const auto first = plain->find('\n');
  const auto second = first == std::string::npos ? std::string::npos : plain->find('\n', first + 1);
  if (second == std::string::npos) return wrong;
  Token token;
  const auto [end, error] = std::from_chars(plain->data(), plain->data() + first, token.revision);
  if (error != std::errc{} || end != plain->data() + first) return wrong;
  token.after = {plain->substr(first + 1, second - first - 1), plain->substr(second + 1)};
  return token;
}

ApiResult<std::uint64_t> parse_revision(std::string_view text) {
  std::uint64_t revision = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), revision);
  if (error == std::errc{} && end == text.data() + text.size()) return revision;
  FieldErrors errors;
  errors.invalid_text("resourceVersion", text, fmt::format("strconv.ParseUint: parsing {}: invalid syntax", quoted(text)));
  return invalid("", "ListOptions", "", std::move(errors));
}

}  // namespace

ApiResult<ObjectPtr> Engine::get(const Target& target) { return existing(target); }

ApiResult<Listing> Engine::list(const Target& target, const ListQuery& query) {
  const Kind& kind = *target.kind;
  const Store::Objects& all = store_.objects(kind.collection());
  std::uint64_t revision = store_.revision();
  auto at = target.ns.empty() ? all.begin() : all.lower_bound({target.ns, ""});
  if (!query.continue_token.empty()) {
    FW_ASSIGN(const Token token, parse_token(query.continue_token));
    // Pages show what is there now; a page is refused only when its first one is out of the window for watches,
    // for then a client could not catch up from the list's revision.
    std::vector<EventPtr> since;
    if (!store_.events_since(kind.collection(), token.revision, since)) {
      return expired(
          "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue "
          "parameter.");
    }
    revision = token.revision;
    at = all.upper_bound(token.after);
  } else if (!query.resource_version.empty() && query.resource_version != "0") {
    FW_ASSIGN(const std::uint64_t wanted, parse_revision(query.resource_version));
    if (wanted > revision) return generic(504, "Timeout", fmt::format("Too large resource version: {}, current: {}", wanted, revision));
    if (query.version_match == "Exact" && wanted != revision)
      return expired(fmt::format("The resourceVersion for the provided list is too old."));
  }
  Listing listing;
  const WatchQuery filter{{}, {}, {}, target.ns, query.labels, query.fields, {}, false, false};
  const bool filtered = !query.labels.empty() || !query.fields.empty();
  bool more = false;
  for (; at != all.end(); ++at) {
    if (!target.ns.empty() && at->first.first != target.ns) break;
    if (filtered && !selects(filter, *at->second)) continue;
    if (query.limit > 0 && listing.items.size() == query.limit) {
      more = true;
      break;
    }
    listing.items.push_back(at->second);
  }
  listing.metadata["resourceVersion"] = boost::json::string(std::to_string(revision));
  if (more) {
    listing.metadata["continue"] = boost::json::string(make_token(revision, *listing.items.back()));
    if (!filtered) {
      std::size_t rest = 0;
      for (; at != all.end() && (target.ns.empty() || at->first.first == target.ns); ++at) ++rest;
      listing.metadata["remainingItemCount"] = rest;
    }
  }
  if (kind.custom) {
    const std::string version = kind.api_version();
    for (ObjectPtr& object : listing.items) {
      if (text_at(object->value, "apiVersion") == version) continue;
      FW_ASSIGN(object, existing({target.kind, object->ns, object->name, ""}));
    }
  }
  return listing;
}

namespace {

// The paths in the object that the scale subresource reads and writes.
struct ScalePaths {
  std::string replicas = "spec.replicas", status = "status.replicas", selector;
};

ScalePaths scale_paths(const Kind& kind) {
  ScalePaths paths;
  if (!kind.custom) return paths;
  auto plain = [](const std::string& path) { return path.starts_with('.') ? path.substr(1) : path; };
  paths.replicas = plain(kind.custom->spec_replicas_path);
  paths.status = plain(kind.custom->status_replicas_path);
  paths.selector = plain(kind.custom->label_selector_path);
  return paths;
}

}  // namespace

ApiResult<Json> Engine::get_scale(const Target& target) {
  FW_ASSIGN(const ObjectPtr object, existing(target));
  const ScalePaths paths = scale_paths(*target.kind);
  Object metadata;
  for (const char* key : {"name", "namespace", "uid", "resourceVersion", "creationTimestamp"}) {
    if (const Json* value = find(object->value, std::string("metadata.") + key)) metadata[key] = *value;
  }
  Object status{{"replicas", int_at(object->value, paths.status)}};
  std::string selector;
  if (!target.kind->custom) {
    if (const Json* labels = find(object->value, "spec.selector")) selector = selector_text(*labels);
  } else if (!paths.selector.empty()) {
    selector = text_at(object->value, paths.selector);
  }
  if (!selector.empty()) status["selector"] = selector;
  Object spec;
  if (const std::int64_t replicas = int_at(object->value, paths.replicas); replicas != 0) spec["replicas"] = replicas;
  return Json(Object{{"kind", "Scale"},
                     {"apiVersion", "autoscaling/v1"},
                     {"metadata", std::move(metadata)},
                     {"spec", std::move(spec)},
                     {"status", std::move(status)}});
}

ApiResult<Written> Engine::update_scale(const Target& target, const Json& scale, const WriteOptions& options) {
  FW_ASSIGN(const ObjectPtr before, existing(target));
  const Json* replicas = find(scale, "spec.replicas");
  if (replicas != nullptr && !replicas->is_int64())
    return bad_request(
        "Scale in version \"v1\" cannot be handled as a Scale: json: cannot unmarshal into Go struct field ScaleSpec.spec.replicas of type "
        "int32");
  const std::int64_t count = replicas != nullptr ? replicas->get_int64() : 0;
  if (count < 0) {
    FieldErrors errors;
    errors.invalid("spec.replicas", count, "must be greater than or equal to 0");
    return invalid("autoscaling", "Scale", target.name, std::move(errors));
  }
  const std::string_view revision = text_at(scale, "metadata.resourceVersion");
  if (!revision.empty() && revision != std::to_string(before->revision))
    return conflict(target.kind->group, target.kind->resource, target.name, kStaleObject);
  Json object = before->value;
  set_at(object.get_object(), scale_paths(*target.kind).replicas, count);
  Target main = target;
  main.subresource.clear();
  WriteOptions recorded = options;
  recorded.recorded_subresource = "scale";
  FW_ASSIGN(Written out, commit_update(main, std::move(object), before, recorded, {}));
  FW_ASSIGN(out.object, get_scale(target));
  if (options.dry_run) set_at(out.object.get_object(), "spec.replicas", count);
  out.stored = nullptr;
  return out;
}

}  // namespace fairway::apiserver
