// Compiled once for each instruction set, each time into a namespace of its own (BOXMILL_ISA). Everything here must have
// internal linkage or live in that namespace: a std template instantiated here could be merged with another set's copy.
#include "heads.hpp"
#include "letterbox.hpp"
#include "nms.hpp"
#include "resample.hpp"
#include "soft.hpp"

#define BOXMILL_STRING_(x) #x
#define BOXMILL_STRING(x) BOXMILL_STRING_(x)

namespace boxmill::BOXMILL_ISA {

extern const Table table;
const Table table{BOXMILL_STRING(BOXMILL_ISA), nms, nms_cost, soft_nms, head, head_cost, letterbox, resample};

}  // namespace boxmill::BOXMILL_ISA
