// What a person means by the words of a question: ends by name, with a word on where to look where there is none; a destination with the
// ports that were not given. Pure.
#pragma once

#include "policycheck/check.h"

namespace fairway::policycheck {

// At least one. kNotFound, with who has that name elsewhere, or where no workload has it but a Service.
Result<std::vector<const End*>> ends_named(const Check& check, const std::string& pattern, const std::string& default_namespace);
// Where else an end of this name is: "; there is shop/db: -n shop", or empty.
std::string hint_of(const Check& check, const std::string& pattern, const std::string& default_namespace);

struct Asked {
  std::vector<const End*> ends;
  PortSet ports;
  std::string note;  // what was taken for what was not said, or is behind a Service; or empty
};
// Whether it asks by a Service whatever else has that name: "svc/db:5432", "svc/shop/db".
bool is_service(std::string_view text);
// "db:5432"; "db": each port that its containers and the Services before it name; a Service's name, with its port: what is behind it.
Result<Asked> parse_destination(const Check& check, std::string_view text, const std::string& default_namespace);

}  // namespace fairway::policycheck
