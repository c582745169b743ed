// The notation of the built-in types' tables (types_*.cc).
//
//   message ServicePort [any]          "any": unknown fields are kept
//     name      1  string  is(dns_label)
//     protocol  2  string  =TCP  in(TCP,UDP,SCTP)
//     embed 2 Probe                    the fields of a message that Go embeds with number 2
//
// A line is a field: name, protobuf number (0: none), type, attributes; ';' also ends a field.
// Types: string int32 int64 bool bytes time microtime quantity intorstring any MESSAGE, []T, map<T>; a final '?' is
// Go's pointer: a zero is kept. Attributes:
//   !             required                     =VALUE        default, where the parent is there; {} for a message
//   zero          kept when zero               in(A,B)       the values allowed
//   range(1,9)    numbers; min(0)              is(FORMAT)    see Format
//   key(k)        list merged by k, in strategic merge and in server-side apply
//   merge(k)      list merged by k in strategic merge      map(k,l)   keys of the list in server-side apply
//   set           list of scalars merged as a set          retain     strategic merge knows $retainKeys
//   unique        equal keys are refused                   atomic     one field for server-side apply
#pragma once

#include "apiserver/schema.h"

namespace fairway::apiserver {

class SchemaText {
 public:
  explicit SchemaText(Schemas& into) : into_(into) {}
  void add(std::string_view text);
  void link();  // once all is added

 private:
  void add_field(Message& message, const std::vector<std::string_view>& words);
  Type parse_type(std::string_view text);
  void apply_attribute(Field& field, std::string_view word);

  Schemas& into_;
  struct Embed {
    Message* into;
    int number;
    std::string from;
  };
  std::vector<Embed> embeds_;
  std::vector<std::pair<Type*, std::string>> unresolved_;  // not in a deque's moving part: see add_field
  std::vector<std::pair<std::shared_ptr<Type>, std::string>> unresolved_items_;
};

// One table a file.
extern const char* const kMetaTypes;
extern const char* const kCoreTypes;
extern const char* const kServiceTypes;
extern const char* const kPodTypes;
extern const char* const kContainerTypes;
extern const char* const kVolumeTypes;
extern const char* const kAppsTypes;
extern const char* const kNetworkingTypes;
extern const char* const kExtensionTypes;

}  // namespace fairway::apiserver
