// Owner references: who controls an object, and taking and giving it away (adoption and release).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "controllers/context.h"

namespace fairway::controllers {

const Json* controller_of(const Json& object);  // the reference with controller: true, or nullptr
bool is_controlled_by(const Json& object, std::string_view uid);
Json controller_reference(const Json& owner, Events::About type);

// The objects of `store` in the owner's namespace that it controls and selects. On the way, orphans that match are
// adopted and own ones that no longer match are released. Copies, as they outlive the calls.
Task<Result<std::vector<Json>>> claim(Api& api, Store& store, Json owner, Events::About type);

}  // namespace fairway::controllers
