// Greedy non-maximum suppression, class-aware and exact.
//
// Candidates are visited in (score descending, index ascending) order and compared with the survivors of their own class only,
// sixteen IoUs a step. Survivors lie in blocks of sixteen, structure of arrays, one contiguous run of blocks a class.
#pragma once
#include <cstring>

#include "api.hpp"
#include "arena.hpp"

namespace boxmill::BOXMILL_ISA {

namespace nms_detail {

constexpr int64_t lanes = 16;
constexpr int64_t rank_sort_most = 128;  // above it the radix sort wins

// The unused lanes of a block are zero: a box without area at the origin, which intersects nothing.
struct alignas(64) Block {
    float x1[lanes], y1[lanes], x2[lanes], y2[lanes], area[lanes];
};

struct Segment {
    int64_t first;  // block
    int64_t count;  // boxes
};

struct Candidates {
    int32_t* index;  // null: all rows, in order
    int32_t* key;    // ascending signed order is descending score order; padded to a multiple of `lanes` with INT32_MAX
    int64_t count;
};

// Which class a row belongs to, as a small number.
struct Slots {
    const int32_t* of_row;  // null: all rows are of class 0
    int64_t count;
};

static int64_t padded(int64_t n) { return (n + lanes - 1) / lanes * lanes; }

static bool any_nan(const float* values, int64_t n) {
    int32_t found = 0;
    for (int64_t i = 0; i < n; ++i) found |= values[i] != values[i];
    return found != 0;
}

static bool nan_row(const NmsRequest& request, int64_t i) {
    return any_nan(request.boxes + 4 * i, 4) || request.scores[i] != request.scores[i];
}

static int32_t descending_key(float score) {
    const float normal = score + 0.0f;  // -0.0 becomes 0.0, so that both tie
    int32_t bits;
    std::memcpy(&bits, &normal, sizeof bits);
    return ~(bits ^ ((bits >> 31) & INT32_MAX));
}

static Candidates gather(const NmsRequest& request, Arena& arena) {
    const int64_t n = request.n;
    Candidates found{nullptr, arena.take<int32_t>(padded(n)), n};
    if (!any_nan(request.boxes, 4 * n) && !any_nan(request.scores, n)) {
        for (int64_t i = 0; i < n; ++i) found.key[i] = descending_key(request.scores[i]);
    } else {
        found.index = arena.take<int32_t>(n);
        found.count = 0;
        for (int64_t i = 0; i < n; ++i) {
            if (nan_row(request, i)) continue;
            found.key[found.count] = descending_key(request.scores[i]);
            found.index[found.count++] = static_cast<int32_t>(i);
        }
    }
    for (int64_t i = found.count; i < padded(found.count); ++i) found.key[i] = INT32_MAX;
    return found;
}

// A candidate's place is the number of candidates before it: quadratic, but without a branch and sixteen at a time.
static void rank_sort(const Candidates& candidates, int32_t* order) {
    const int32_t* key = candidates.key;
    const int32_t count = static_cast<int32_t>(padded(candidates.count));
    for (int32_t i = 0; i < candidates.count; ++i) {
        const int32_t mine = key[i];
        int32_t place = 0;
        for (int32_t j = 0; j < count; ++j) place += (key[j] < mine) | ((key[j] == mine) & (j < i));
        order[place] = i;
    }
}

// Least significant digit first, over only the bits in which the keys differ.
static void radix_sort(const Candidates& candidates, int32_t* order, Arena& arena) {
    const int64_t n = candidates.count;
    int32_t low = INT32_MAX, high = INT32_MIN;
    for (int64_t i = 0; i < n; ++i) {
        low = candidates.key[i] < low ? candidates.key[i] : low;
        high = candidates.key[i] > high ? candidates.key[i] : high;
    }
    const uint32_t range = static_cast<uint32_t>(high) - static_cast<uint32_t>(low);
    const int bits = range == 0 ? 1 : 32 - __builtin_clz(range);
    const int widest = n < 4096 ? 9 : 11;
    const int passes = (bits + widest - 1) / widest;
    const int width = (bits + passes - 1) / passes;
    const uint32_t mask = (1u << width) - 1;

    uint64_t* from = arena.take<uint64_t>(n);
    uint64_t* to = arena.take<uint64_t>(n);
    uint32_t* places = arena.take<uint32_t>(static_cast<size_t>(passes) << width);
    std::memset(places, 0, sizeof(uint32_t) * (static_cast<size_t>(passes) << width));
    for (int64_t i = 0; i < n; ++i) {
        const uint32_t key = static_cast<uint32_t>(candidates.key[i]) - static_cast<uint32_t>(low);
        from[i] = static_cast<uint64_t>(key) << 32 | static_cast<uint64_t>(i);
        for (int pass = 0; pass < passes; ++pass) ++places[(pass << width) + (key >> (pass * width) & mask)];
    }
    for (int pass = 0; pass < passes; ++pass) {
        uint32_t* place = places + (static_cast<size_t>(pass) << width);
        uint32_t total = 0;
        for (uint32_t digit = 0; digit <= mask; ++digit) {
            const uint32_t here = place[digit];
            place[digit] = total;
            total += here;
        }
        const int shift = 32 + pass * width;
        for (int64_t i = 0; i < n; ++i) to[place[from[i] >> shift & mask]++] = from[i];
        uint64_t* swap = from;
        from = to;
        to = swap;
    }
    for (int64_t i = 0; i < n; ++i) order[i] = static_cast<int32_t>(from[i]);
}

// Rows of the request in the order in which they are visited.
static const int32_t* sorted_rows(const Candidates& candidates, Arena& arena) {
    int32_t* order = arena.take<int32_t>(candidates.count);
    if (candidates.count <= rank_sort_most) {
        rank_sort(candidates, order);
    } else {
        radix_sort(candidates, order, arena);
    }
    if (candidates.index != nullptr)
        for (int64_t i = 0; i < candidates.count; ++i) order[i] = candidates.index[order[i]];
    return order;
}

static uint64_t scrambled(int64_t value) {
    uint64_t x = static_cast<uint64_t>(value) * 0x9E3779B97F4A7C15u;
    x ^= x >> 32;
    return x * 0xD6E8FEB86659FD93u >> 16;
}

// Class ids that lie far apart: open addressing, numbered in the order in which they appear.
template <class Id>
static Slots hashed_slots(const Id* classes, int64_t n, Arena& arena) {
    int64_t size = 64;
    while (size < 2 * n) size *= 2;
    int32_t* table = arena.take<int32_t>(size);
    std::memset(table, -1, sizeof(int32_t) * static_cast<size_t>(size));
    Id* ids = arena.take<Id>(n);
    int32_t* slots = arena.take<int32_t>(n);
    int32_t count = 0;
    for (int64_t i = 0; i < n; ++i) {
        int64_t at = static_cast<int64_t>(scrambled(classes[i])) & (size - 1);
        while (table[at] >= 0 && ids[table[at]] != classes[i]) at = (at + 1) & (size - 1);
        if (table[at] < 0) {
            ids[count] = classes[i];
            table[at] = count++;
        }
        slots[i] = table[at];
    }
    return {slots, count};
}

template <class Id>
static Slots class_slots(const Id* classes, int64_t n, Arena& arena) {
    Id low = classes[0], high = classes[0];
    for (int64_t i = 1; i < n; ++i) {
        low = classes[i] < low ? classes[i] : low;
        high = classes[i] > high ? classes[i] : high;
    }
    const uint64_t range = static_cast<uint64_t>(high) - static_cast<uint64_t>(low);
    if (range >= static_cast<uint64_t>(n < 256 ? 1024 : 4 * n)) return hashed_slots(classes, n, arena);
    int32_t* slots = arena.take<int32_t>(n);
    for (int64_t i = 0; i < n; ++i)
        slots[i] = static_cast<int32_t>(static_cast<uint64_t>(classes[i]) - static_cast<uint64_t>(low));
    return {slots, static_cast<int64_t>(range) + 1};
}

static Slots slots_of(const NmsRequest& request, Arena& arena) {
    if (request.classes == nullptr || request.n == 0) return {nullptr, 1};
    if (request.wide_classes) return class_slots(static_cast<const int64_t*>(request.classes), request.n, arena);
    return class_slots(static_cast<const int32_t*>(request.classes), request.n, arena);
}

struct Survivors {
    Segment* segments;  // by slot
    Block* blocks;
};

static Survivors room_for(const Slots& slots, int64_t n, Arena& arena) {
    Segment* segments = arena.take<Segment>(slots.count);
    std::memset(segments, 0, sizeof(Segment) * static_cast<size_t>(slots.count));
    if (slots.of_row == nullptr) {
        segments[0].count = n;
    } else {
        for (int64_t i = 0; i < n; ++i) ++segments[slots.of_row[i]].count;
    }
    int64_t blocks = 0;
    for (int64_t slot = 0; slot < slots.count; ++slot) {
        segments[slot].first = blocks;
        blocks += (segments[slot].count + lanes - 1) / lanes;
        segments[slot].count = 0;
    }
    return {segments, arena.take<Block>(blocks)};
}

static float larger(float a, float b) { return a > b ? a : b; }
static float smaller(float a, float b) { return a < b ? a : b; }

// A width that is not a number (infinity - infinity) counts as 0 here: neither 0 nor NaN can suppress.
static bool block_suppresses(const Block& block, const float* box, float area, float threshold) {
    int32_t found = 0;
    for (int64_t i = 0; i < lanes; ++i) {
        const float width = larger(smaller(block.x2[i], box[2]) - larger(block.x1[i], box[0]), 0.0f);
        const float height = larger(smaller(block.y2[i], box[3]) - larger(block.y1[i], box[1]), 0.0f);
        const float inter = width * height;
        const float iou = inter / ((block.area[i] + area) - inter);
        found |= iou > threshold;
    }
    return found != 0;
}

static bool suppressed(const Block* blocks, int64_t count, const float* box, float area, float threshold) {
    for (int64_t done = 0; done < count; done += lanes, ++blocks)
        if (block_suppresses(*blocks, box, area, threshold)) return true;
    return false;
}

static void append(Block* blocks, int64_t at, const float* box, float area) {
    Block& block = blocks[at / lanes];
    const int64_t lane = at % lanes;
    if (lane == 0) std::memset(&block, 0, sizeof block);
    block.x1[lane] = box[0];
    block.y1[lane] = box[1];
    block.x2[lane] = box[2];
    block.y2[lane] = box[3];
    block.area[lane] = area;
}

// Visits `rows` and returns how many survive, at most `most`.
static int64_t sweep(const NmsRequest& request, const int32_t* rows, int64_t count, int64_t most, int32_t* kept, Arena& arena) {
    const Slots slots = slots_of(request, arena);
    const Survivors survivors = room_for(slots, request.n, arena);
    int64_t found = 0;
    for (int64_t i = 0; i < count && found < most; ++i) {
        const int32_t row = rows[i];
        const float* box = request.boxes + 4 * static_cast<int64_t>(row);
        const float area = (box[2] - box[0]) * (box[3] - box[1]);
        Segment& segment = survivors.segments[slots.of_row == nullptr ? 0 : slots.of_row[row]];
        Block* blocks = survivors.blocks + segment.first;
        if (suppressed(blocks, segment.count, box, area, request.limits.iou)) continue;
        append(blocks, segment.count++, box, area);
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
    const int64_t found = sweep(request, rows, considered, most, kept, arena);

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
