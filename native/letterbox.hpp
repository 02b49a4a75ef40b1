#pragma once
#include "api.hpp"
#include "arena.hpp"

namespace boxmill::BOXMILL_ISA {

static void letterbox(const LetterboxRequest&, Arena&) {}

}  // namespace boxmill::BOXMILL_ISA
