// A connection after an upgrade, as a Duplex of plain bytes. Private to src/io.
// Destroyed before it was closed it ends at once, and what is pending is dropped: nobody waits for a peer that takes no more.
#pragma once

#include <memory>

#include "io/conn.h"
#include "io/http.h"

namespace fairway::io {

std::unique_ptr<Duplex> make_raw_duplex(std::shared_ptr<Conn> conn);

}  // namespace fairway::io
