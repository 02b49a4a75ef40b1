// Soft-NMS (Bodla and others, arXiv 1704.04503): a box that overlaps a better one loses score instead of its place.
//
// IoU in float32 as everywhere, decay in double, one product after another in the order in which boxes were picked; the score
// is rounded to float32 at the end. Scores never rise, so a score that has not met all picked boxes yet is an upper bound: the
// candidates are a heap by such bounds, and only the one on top is brought up to date, against the boxes picked since it was
// last there. A candidate that never comes near the top is never compared.
#pragma once
#include <cmath>

#include "nms_blocks.hpp"
#include "nms_classes.hpp"
#include "nms_meter.hpp"
#include "nms_order.hpp"

namespace boxmill::BOXMILL_ISA {

namespace soft_detail {

using namespace nms_detail;

struct Item {
    double score;  // decayed by the first `seen` boxes that were picked of its class
    int32_t row;
    int32_t seen;
};

static bool before(const Item& a, const Item& b) { return a.score > b.score || (a.score == b.score && a.row < b.row); }

// Max-heap by `before`.
struct Heap {
    Item* items;
    int64_t count;

    void sink(int64_t at) {
        const Item item = items[at];
        for (;;) {
            int64_t child = 2 * at + 1;
            if (child >= count) break;
            child += child + 1 < count && before(items[child + 1], items[child]);
            if (!before(items[child], item)) break;
            items[at] = items[child];
            at = child;
        }
        items[at] = item;
    }
    void drop_top() {
        items[0] = items[--count];
        if (count > 0) sink(0);
    }
};

// Not a heap yet.
static Heap gathered(const SoftRequest& q, int64_t& nan, Arena& arena) {
    Heap heap{arena.take<Item>(static_cast<size_t>(q.boxes.n)), 0};
    for (int64_t i = 0; i < q.boxes.n; ++i) {
        if (!(q.boxes.scores[i] > q.conf)) continue;
        if (nan_row(q.boxes, i))
            ++nan;
        else
            heap.items[heap.count++] = {q.boxes.scores[i], static_cast<int32_t>(i), 0};
    }
    return heap;
}

static void order(Heap& heap, SoftReply& reply, int64_t most, Arena& arena) {
    for (int64_t at = heap.count / 2 - 1; at >= 0; --at) heap.sink(at);
    if (heap.count <= most) return;
    Item* best = arena.take<Item>(static_cast<size_t>(most));
    for (int64_t i = 0; i < most; ++i) {
        best[i] = heap.items[0];
        heap.drop_top();
    }
    reply.truncated = true;
    reply.cut = static_cast<float>(heap.items[0].score);
    heap = {best, most};  // best first is a heap too
}

// A width that is not a number counts as 0, as in block_suppresses: neither overlaps.
static void block_ious(const Block& block, const float* box, float area, float* ious) {
    for (int64_t i = 0; i < lanes; ++i) {
        const float width = larger(smaller(block.x2[i], box[2]) - larger(block.x1[i], box[0]), 0.0f);
        const float height = larger(smaller(block.y2[i], box[3]) - larger(block.y1[i], box[1]), 0.0f);
        const float inter = width * height;
        ious[i] = inter / ((block.area[i] + area) - inter);
    }
}

// Brings an item up to date with the picked boxes of its class.
template <class M>
static void decay(const SoftRequest& q, const Block* blocks, const Segment& picked, Item& item, M& meter) {
    const float* box = q.boxes.boxes + 4 * static_cast<int64_t>(item.row);
    const float area = area_of(box), least = q.gaussian ? 0.0f : q.boxes.limits.iou;
    float ious[lanes];
    meter.tests(picked.count - item.seen);
    for (int64_t lane = item.seen; lane < picked.count; ++lane) {
        if (lane == item.seen || lane % lanes == 0) block_ious(blocks[picked.first + lane / lanes], box, area, ious);
        const float iou = ious[lane % lanes];
        if (!(iou > least)) continue;
        const double ratio = iou;
        item.score *= q.gaussian ? std::exp(-(ratio * ratio) / q.sigma) : 1.0 - ratio;
    }
    item.seen = static_cast<int32_t>(picked.count);
}

static Segment* class_segments(const Slots& slots, const Heap& heap, Arena& arena) {
    Segment* segments = no_segments(slots.count, arena);
    for (int64_t i = 0; i < heap.count; ++i) ++segments[slot_of(slots, heap.items[i].row)].count;
    return segments;
}

// Takes the best box again and again; returns how many were taken, at most `most`.
template <class M>
static int64_t pick(const SoftRequest& q, Heap heap, int32_t* kept, float* scores, int64_t most, Arena& arena, M& meter) {
    const Slots slots = slots_of(q.boxes, arena);
    Segment* segments = class_segments(slots, heap, arena);
    Block* blocks = room_for(segments, slots.count, arena);
    meter.end(CostStep::group);
    int64_t found = 0;
    while (heap.count > 0 && found < most) {
        Item& top = heap.items[0];
        Segment& picked = segments[slot_of(slots, top.row)];
        if (top.seen < picked.count) {
            decay(q, blocks, picked, top, meter);
            if (static_cast<float>(top.score) > q.conf)
                heap.sink(0);
            else
                heap.drop_top();
            continue;
        }
        kept[found] = top.row;
        scores[found++] = static_cast<float>(top.score);
        const float* box = q.boxes.boxes + 4 * static_cast<int64_t>(top.row);
        append(blocks, picked, box, area_of(box));
        heap.drop_top();
    }
    return found;
}

template <class M>
static SoftReply metered(const SoftRequest& q, Arena& arena, M& meter) {
    const NmsLimits& limits = q.boxes.limits;
    SoftReply reply{};
    Heap heap = gathered(q, reply.nan, arena);
    meter.end(CostStep::filter);
    order(heap, reply, limits.max_nms, arena);
    meter.end(CostStep::sort);
    const int64_t wanted = heap.count < limits.max_det ? heap.count : limits.max_det;
    const int64_t most = wanted + (limits.want_cut && wanted < heap.count);
    int32_t* kept = arena.take<int32_t>(static_cast<size_t>(most));
    float* scores = arena.take<float>(static_cast<size_t>(most));
    const int64_t found = pick(q, heap, kept, scores, most, arena, meter);
    meter.end(CostStep::suppress);
    if (found > wanted) {
        if (!reply.truncated || scores[wanted] > reply.cut) reply.cut = scores[wanted];
        reply.truncated = true;
    }
    reply.kept = kept;
    reply.scores = scores;
    reply.count = found < wanted ? found : wanted;
    return reply;
}

}  // namespace soft_detail

static SoftReply soft_nms(const SoftRequest& q, Arena& arena) {
    nms_detail::Unmetered meter;
    return soft_detail::metered(q, arena, meter);
}

}  // namespace boxmill::BOXMILL_ISA
