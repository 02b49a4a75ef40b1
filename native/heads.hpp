#pragma once
#include "api.hpp"
#include "arena.hpp"

namespace boxmill::BOXMILL_ISA {

static HeadReply head(const HeadRequest&, Arena&) { return {}; }

}  // namespace boxmill::BOXMILL_ISA
