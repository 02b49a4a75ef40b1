// Greedy non-maximum suppression, class-aware and exact.
//
// Candidates are visited in (score descending, index ascending) order and compared with the survivors of their own class
// only, sixteen IoUs a step. Where a class has many candidates, its survivors are kept by cells of a grid.
//
// History, µs for 5000 / 30000 boxes (bench/candidates.py; x86-64-v4, AMD family 26; kernel alone):
//                                       crowded, 80 classes   crowded, 1 class   sparse, 1 class
//   lists by class                            43 / 615            170 / 1914       2320 / 85000
#pragma once
#include "nms_grid.hpp"
#include "nms_order.hpp"

namespace boxmill::BOXMILL_ISA {

namespace nms_detail {

// Returns how many survive, at most `visit.most`.
static int64_t sweep(const NmsRequest& request, Visit visit, int32_t* kept, Arena& arena) {
    const Slots slots = slots_of(request, arena);
    Segment* segments = class_sizes(slots, request.n, arena);
    Block* blocks = room_for(segments, slots.count, arena);
    int64_t found = 0;
    for (; visit.next < visit.count && found < visit.most; ++visit.next) {
        const int32_t row = visit.rows[visit.next];
        const float* box = request.boxes + 4 * static_cast<int64_t>(row);
        const float area = area_of(box);
        Segment& segment = segments[slot_of(slots, row)];
        if (suppressed(blocks, segment, box, area, request.limits.iou)) continue;
        if (segment.count == grid_least) return sweep_grid(request, visit, slots, kept, found, arena);
        append(blocks, segment, box, area);
        kept[found++] = row;
    }
    return found;
}

}  // namespace nms_detail

static NmsReply nms(const NmsRequest& request, Arena& arena) {
    using namespace nms_detail;
    const NmsLimits& limits = request.limits;
    const Candidates candidates = gather(request, arena);
    const int32_t* rows = sorted_rows(candidates, arena);
    const int64_t considered = candidates.count < limits.max_nms ? candidates.count : limits.max_nms;

    int32_t* kept = arena.take<int32_t>(considered);
    const int64_t wanted = limits.max_det < considered ? limits.max_det : considered;
    const int64_t most = limits.want_cut && wanted < considered ? wanted + 1 : wanted;
    const int64_t found = sweep(request, {rows, considered, most, 0}, kept, arena);

    NmsReply reply{kept, found < wanted ? found : wanted, request.n - candidates.count, false, 0.0f};
    if (!limits.want_cut) return reply;
    if (found > wanted) {
        reply.truncated = true;
        reply.cut = request.scores[kept[wanted]];
    } else if (considered < candidates.count) {
        reply.truncated = true;
        reply.cut = request.scores[rows[considered]];
    }
    return reply;
}

}  // namespace boxmill::BOXMILL_ISA
