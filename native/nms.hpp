#pragma once
#include "api.hpp"
#include "arena.hpp"

namespace boxmill::BOXMILL_ISA {

static NmsReply nms(const NmsRequest&, Arena&) { return {}; }

}  // namespace boxmill::BOXMILL_ISA
