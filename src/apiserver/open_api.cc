// The OpenAPI v3 documents: that the server validates fields (kubectl asks), and the fields of each kind (`kubectl explain`).
#include <fmt/format.h>

#include <functional>
#include <map>
#include <set>

#include "apiserver/discovery.h"

namespace fairway::apiserver {
namespace {

std::string path_of(std::string_view group, std::string_view version) {
  return group.empty() ? fmt::format("api/{}", version) : fmt::format("apis/{}/{}", group, version);
}

// Turns types to schemas and collects the messages on the way.
class SchemaWriter {
 public:
  // The name of the message's schema.
  std::string add(const Message& message, const std::string& name) {
    if (!written_.insert(name).second) return name;
    Object properties;
    Array required;
    for (const Field& field : message.fields) {
      properties[field.name] = describe(field.type, name + "." + field.name);
      if (field.default_value) properties[field.name].get_object()["default"] = *field.default_value;
      if (field.required) required.emplace_back(boost::json::string(field.name));
    }
    Object schema{{"type", "object"}, {"properties", std::move(properties)}};
    if (!required.empty()) schema["required"] = std::move(required);
    schemas_[name] = std::move(schema);
    return name;
  }
  Object& schema(const std::string& name) { return schemas_.at(name).get_object(); }
  Object take() { return std::move(schemas_); }

 private:
  // Messages of CRDs have no name: they are called after their place.
  Json describe(const Type& type, const std::string& place) {
    switch (type.base) {
      case Base::kInt32:
      case Base::kInt64:
        return Object{{"type", "integer"}, {"format", type.base == Base::kInt32 ? "int32" : "int64"}};
      case Base::kNumber:
        return Object{{"type", "number"}};
      case Base::kBool:
        return Object{{"type", "boolean"}};
      case Base::kBytes:
        return Object{{"type", "string"}, {"format", "byte"}};
      case Base::kTime:
      case Base::kMicroTime:
        return Object{{"type", "string"}, {"format", "date-time"}};
      case Base::kIntOrString:
        return Object{{"format", "int-or-string"}, {"oneOf", Array{Object{{"type", "integer"}}, Object{{"type", "string"}}}}};
      case Base::kAny:
        return Object{{"type", "object"}};
      case Base::kList:
        return Object{{"type", "array"}, {"items", describe(*type.item, place)}};
      case Base::kMap:
        return Object{{"type", "object"}, {"additionalProperties", describe(*type.item, place)}};
      case Base::kMessage: {
        const std::string name = add(*type.message, type.message->name.empty() ? place : "io.k8s." + type.message->name);
        return Object{{"allOf", Array{Object{{"$ref", "#/components/schemas/" + name}}}}};
      }
      case Base::kString:
      case Base::kQuantity:
        break;
    }
    Object schema{{"type", "string"}};
    Array values;
    for (const std::string& one : type.one_of) values.emplace_back(boost::json::string(one));
    if (!values.empty()) schema["enum"] = std::move(values);
    return schema;
  }

  Object schemas_;
  std::set<std::string> written_;
};

void add_identity(Object& schema) {
  Object& properties = schema.at("properties").get_object();
  for (const char* name : {"apiVersion", "kind"}) properties[name] = Object{{"type", "string"}};
}

}  // namespace

Json open_api_index(const KindTable& kinds) {
  std::map<std::string, std::string> documents;
  for (const KindPtr& kind : kinds.all()) {
    std::string& names = documents[path_of(kind->group, kind->version)];
    names += fmt::format("{}{},", kind->kind, static_cast<const void*>(kind->custom.get()));
  }
  Object paths;
  for (const auto& [path, names] : documents) {
    // The hash changes with the document, so that clients may cache it for ever.
    paths[path] = Object{{"serverRelativeURL", fmt::format("/openapi/v3/{}?hash={:016X}", path, std::hash<std::string>{}(names))}};
  }
  return Object{{"paths", std::move(paths)}};
}

std::optional<Json> open_api_document(const KindTable& kinds, std::string_view group, std::string_view version) {
  if (!kinds.has_group_version(group, version)) return std::nullopt;
  Object paths;
  SchemaWriter writer;
  for (const KindPtr& kind : kinds.all()) {
    if (kind->group != group || kind->version != version) continue;
    const std::string path =
        fmt::format("/{}/{}{}/{{name}}", path_of(group, version), kind->namespaced ? "namespaces/{namespace}/" : "", kind->resource);
    const Json gvk = Object{{"group", kind->group}, {"version", kind->version}, {"kind", kind->kind}};
    const Json parameters = Array{Object{{"name", "fieldValidation"}, {"in", "query"}, {"schema", Object{{"type", "string"}}}}};
    Object operations;
    for (const char* verb : {"patch", "put"})
      operations[verb] = Object{{"parameters", parameters}, {"responses", Object()}, {"x-kubernetes-group-version-kind", gvk}};
    paths[path] = std::move(operations);
    const std::string name =
        writer.add(*kind->message, fmt::format("{}.{}.{}", kind->group.empty() ? "core" : kind->group, kind->version, kind->kind));
    add_identity(writer.schema(name));
    writer.schema(name)["x-kubernetes-group-version-kind"] = Array{gvk};
  }
  return Object{{"openapi", "3.0.0"},
                {"info", Object{{"title", "Kubernetes"}, {"version", "v1.32"}}},
                {"paths", std::move(paths)},
                {"components", Object{{"schemas", writer.take()}}}};
}

}  // namespace fairway::apiserver
