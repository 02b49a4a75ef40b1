// Greedy non-maximum suppression, class-aware and exact.
//
// Candidates are visited in (score descending, index ascending) order and compared with the survivors of their own class
// only, sixteen IoUs a step. Once a class has many survivors, they are kept by the cells of a grid.
//
// Measured history, kernel alone, ms for 30000 boxes of bench/candidates.py (x86-64-v4, GCC 12, AMD family 26 model 2):
//                                           crowded, 80 classes   crowded, 1 class   sparse, 1 class
//   one list for each class                       0.7                  2.1                86.5
//   a grid after 512 survivors                    0.7                  2.1               2.2-3.5
//   a mask for "any lane", boxes fetched ahead    0.65 and 0.6 of that, in the same run
// Rejected: dividing only where a product says that the threshold may be passed. It halves the divisions but adds a branch
// that is predicted badly: crowded sets took 1.3 to 2 times as long, sparse ones were equal (with masks, 1.0 to 1.2 times).
// Rejected: a grid after 128 or 256 survivors. 30000 crowded boxes of one class took 2.5 and 1.5 times as long.
#pragma once
#include <cmath>

#include "nms_grid.hpp"
#include "nms_meter.hpp"
#include "nms_order.hpp"

namespace boxmill::BOXMILL_ISA {

namespace nms_detail {

// Rows come in the order of their scores, which is no order in memory: past the second-level cache the sweep would wait.
static void fetch_ahead(const NmsRequest& request, const Slots& slots, const Visit& visit) {
    constexpr int64_t ahead = 12, least = 8192;
    if (request.n < least || visit.next + ahead >= visit.count) return;
    const int64_t row = visit.rows[visit.next + ahead];
    __builtin_prefetch(request.boxes + 4 * row);
    if (slots.of_row != nullptr) __builtin_prefetch(slots.of_row + row);
}

// Returns how many survive, at most `visit.most`.
template <class M>
static int64_t sweep(const NmsRequest& request, Visit visit, int32_t* kept, Arena& arena, M& meter) {
    const Slots slots = slots_of(request, arena);
    Segment* segments = class_sizes(slots, request.n, arena);
    Block* blocks = room_for(segments, slots.count, arena);
    meter.end(CostStep::group);
    int64_t found = 0;
    for (; visit.next < visit.count && found < visit.most; ++visit.next) {
        const int32_t row = visit.rows[visit.next];
        fetch_ahead(request, slots, visit);
        const float* box = request.boxes + 4 * static_cast<int64_t>(row);
        const float area = area_of(box);
        Segment& segment = segments[slot_of(slots, row)];
        if (suppressed(blocks, segment, box, area, request.limits.iou, meter)) continue;
        if (segment.count == grid_least) return sweep_grid(request, visit, slots, kept, found, arena, meter);
        append(blocks, segment, box, area);
        kept[found++] = row;
    }
    return found;
}

template <class M>
static NmsReply metered(const NmsRequest& request, Arena& arena, M& meter) {
    const NmsLimits& limits = request.limits;
    const Candidates candidates = gather(request, arena);
    meter.end(CostStep::filter);
    const int32_t* rows = sorted_rows(candidates, arena);
    meter.end(CostStep::sort);
    const int64_t considered = candidates.count < limits.max_nms ? candidates.count : limits.max_nms;

    const int64_t wanted = limits.max_det < considered ? limits.max_det : considered;
    const int64_t most = limits.want_cut && wanted < considered ? wanted + 1 : wanted;
    const int32_t* kept = rows;
    int64_t found = most;
    if (limits.iou < INFINITY) {
        int32_t* survivors = arena.take<int32_t>(considered);
        found = sweep(request, {rows, considered, most, 0}, survivors, arena, meter);
        meter.end(CostStep::suppress);
        kept = survivors;
    }

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

}  // namespace nms_detail

static NmsReply nms(const NmsRequest& request, Arena& arena) {
    nms_detail::Unmetered meter;
    return nms_detail::metered(request, arena, meter);
}

static NmsReply nms_cost(const NmsRequest& request, Arena& arena, NmsCost& cost) {
    nms_detail::Meter meter(cost);
    const NmsReply reply = nms_detail::metered(request, arena, meter);
    const int64_t candidates = request.n - reply.nan, most = request.limits.max_nms;
    cost.considered = candidates < most ? candidates : most;
    return reply;
}

}  // namespace boxmill::BOXMILL_ISA
