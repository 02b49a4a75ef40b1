// The order in which NMS visits candidates: score descending, index ascending; rows with a NaN left out.
#pragma once
#include <cstring>

#include "nms_blocks.hpp"

namespace boxmill::BOXMILL_ISA::nms_detail {

constexpr int64_t rank_sort_most = 128;  // above it the radix sort wins

struct Candidates {
    int32_t* index;  // null: all rows, in order
    int32_t* key;    // ascending signed order is descending score order; padded to a multiple of `lanes` with INT32_MAX
    int64_t count;
};

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

}  // namespace boxmill::BOXMILL_ISA::nms_detail
