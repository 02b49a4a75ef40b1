// What every head's search for candidates shares: scores, boxes, and the list that they go to.
#pragma once
#include <cmath>
#include <cstring>

#include "api.hpp"
#include "arena.hpp"
#include "halves.hpp"

namespace boxmill::BOXMILL_ISA::heads_detail {

constexpr uint32_t infinity_bits = 0x7F800000u;
constexpr int64_t most_candidates = INT32_MAX - 64;  // what nms can index

static inline int32_t bits_of(float value) {
    int32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float float_of(int32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// In double and rounded once, so that every libm and numpy agree on the float32 result in practice.
static inline float sigmoid(float logit) { return static_cast<float>(1.0 / (1.0 + std::exp(-static_cast<double>(logit)))); }
static inline float exponential(float x) { return static_cast<float>(std::exp(static_cast<double>(x))); }

// What raw class values mean. `score` is final; in a row the values `ranked` are compared by the keys of their bits, and a
// maximum of `mark_bits` reveals a NaN.
struct Scores {
    static float score(float raw) { return raw; }
    static float floor(float conf) { return conf; }
    static bool below(float, float) { return false; }
    static float limit(float, float conf) { return conf; }  // what `ranked` must exceed
    static float ranked(float value, float objectness) { return objectness * value; }
    static int32_t key(int32_t bits) { return bits; }
    static uint32_t mark_bits(int32_t bits) { return static_cast<uint32_t>(bits); }
    static bool is_nan_key(int32_t top, uint32_t high) {  // positive NaNs win as signed integers, negative ones as unsigned
        return (top > static_cast<int32_t>(infinity_bits)) | (high > 0xFF800000u);
    }
};

struct Logits {
    static float score(float raw) { return sigmoid(raw); }
    static bool below(float raw, float floor) { return raw <= floor; }
    static float limit(float floor, float) { return floor; }
    static float ranked(float value, float) { return value; }
    static int32_t key(int32_t bits) { return bits ^ ((bits >> 31) & INT32_MAX); }  // orders as the float does; its own inverse
    static uint32_t mark_bits(int32_t bits) { return static_cast<uint32_t>(bits) << 1; }
    static bool is_nan_key(int32_t, uint32_t high) { return high > infinity_bits << 1; }
    // No logit at or below it can reach conf: the margin is far above every rounding, and the rounded sigmoid decides.
    static float floor(float conf) {
        const double c = conf;
        return static_cast<float>(std::log(c / (1.0 - c)) - 1e-3);
    }
};

// Ordered by (anchor, class); grows in the arena.
struct Candidates {
    float* boxes = nullptr;
    float* scores = nullptr;
    int32_t *classes = nullptr, *anchors = nullptr;
    int64_t count = 0, capacity = 0, nan = 0;
};

template <class T>
static T* regrown(const T* old, int64_t count, int64_t capacity, Arena& arena) {
    T* grown = arena.take<T>(static_cast<size_t>(capacity));
    if (count > 0) std::memcpy(grown, old, static_cast<size_t>(count) * sizeof(T));
    return grown;
}

static void reserve(Candidates& found, int64_t more, Arena& arena) {
    if (found.capacity - found.count >= more) return;
    int64_t capacity = 2 * found.capacity > found.count + more ? 2 * found.capacity : found.count + more;
    if (capacity < 256) capacity = 256;
    if (capacity > most_candidates) {
        capacity = most_candidates;
        if (capacity - found.count < more) arena.take_bytes(SIZE_MAX);  // throws: out of memory
    }
    found.boxes = regrown(found.boxes, 4 * found.count, 4 * capacity, arena);
    found.scores = regrown(found.scores, found.count, capacity, arena);
    found.classes = regrown(found.classes, found.count, capacity, arena);
    found.anchors = regrown(found.anchors, found.count, capacity, arena);
    found.capacity = capacity;
}

static inline void push(Candidates& found, const float* box, float score, int64_t label, int64_t anchor) {
    std::memcpy(found.boxes + 4 * found.count, box, 4 * sizeof(float));
    found.scores[found.count] = score;
    found.classes[found.count] = static_cast<int32_t>(label);
    found.anchors[found.count] = static_cast<int32_t>(anchor);
    ++found.count;
}

// YOLOX's networks take multiples of the stride; NanoDet's levels have a cell more where a side is none.
static inline int64_t cells_along(Head head, int32_t side, int32_t stride) {
    return head == Head::nanodet ? (static_cast<int64_t>(side) + stride - 1) / stride : side / stride;
}

// The grid cell of an anchor; anchors are asked for in increasing order.
struct Grid {
    int32_t level = 0;
    int64_t first = 0;  // the level's first anchor

    void cell(const HeadRequest& q, int64_t anchor, float* x, float* y, float* stride) {
        for (;;) {
            const int32_t step = q.strides[level];
            const int64_t width = cells_along(q.head, q.network_width, step);
            const int64_t cells = width * cells_along(q.head, q.network_height, step);
            if (anchor - first < cells) {
                *x = static_cast<float>((anchor - first) % width);
                *y = static_cast<float>((anchor - first) / width);
                *stride = static_cast<float>(step);
                return;
            }
            first += cells;
            ++level;
        }
    }
};

// The search for one image's candidates.
struct Search {
    const HeadRequest& q;
    Arena& arena;
    float floor;  // raw values at or below it cannot pass
    Grid grid{};
    Candidates found{};
};

static inline bool is_number(const float* box) {
    return box[0] == box[0] && box[1] == box[1] && box[2] == box[2] && box[3] == box[3];
}

// sum(i * exp(x_i - top)) / sum(exp(x_i - top)) in double, sums from left to right, rounded once.
static inline float expectation(const float* values, int32_t bins) {
    double top = values[0], total = 0.0, moment = 0.0;
    for (int32_t i = 1; i < bins; ++i) top = values[i] > top ? values[i] : top;
    for (int32_t i = 0; i < bins; ++i) {
        const double power = std::exp(values[i] - top);
        total += power;
        moment += i * power;
    }
    return static_cast<float>(moment / total);
}

// Distributions of the distances to left, top, right and bottom.
static bool decode_sides(Search& search, const float* raw, int64_t anchor, float* box) {
    const HeadRequest& q = search.q;
    float x, y, stride, sides[4];
    search.grid.cell(q, anchor, &x, &y, &stride);
    x = (x + q.origin) * stride;
    y = (y + q.origin) * stride;
    for (int side = 0; side < 4; ++side) sides[side] = expectation(raw + side * q.bins, q.bins) * stride;
    box[0] = x - sides[0];
    box[1] = y - sides[1];
    box[2] = x + sides[2];
    box[3] = y + sides[3];
    return is_number(box);
}

static bool decode_corners(Search& search, const float* raw, float* box) {
    const HeadRequest& q = search.q;
    const float size[2] = {static_cast<float>(q.network_width), static_cast<float>(q.network_height)};
    for (int k = 0; k < 4; ++k) box[k] = q.normalized ? raw[k] * size[k % 2] : raw[k];
    return is_number(box);
}

// Kept out of decode_box, which then stays small enough to be inlined: 8000 candidates took 20 us longer otherwise.
[[gnu::noinline]] static bool decode_no_centre(Search& search, const float* raw, int64_t anchor, float* box) {
    return search.q.head == Head::nanodet ? decode_sides(search, raw, anchor, box) : decode_corners(search, raw, box);
}

// A box as the head gives it -> x1, y1, x2, y2 in network pixels; false: a coordinate is NaN.
static inline bool decode_box(Search& search, const float* raw, int64_t anchor, float* box) {
    const HeadRequest& q = search.q;
    if (q.head == Head::nanodet || q.head == Head::selected) return decode_no_centre(search, raw, anchor, box);
    float cx = raw[0], cy = raw[1], w = raw[2], h = raw[3];
    if (q.head == Head::yolox) {
        float x, y, stride;
        search.grid.cell(q, anchor, &x, &y, &stride);
        cx = (cx + x) * stride;
        cy = (cy + y) * stride;
        w = exponential(w) * stride;
        h = exponential(h) * stride;
    } else if (q.normalized) {
        const float width = static_cast<float>(q.network_width), height = static_cast<float>(q.network_height);
        cx *= width;
        cy *= height;
        w *= width;
        h *= height;
    }
    const float half_w = 0.5f * w, half_h = 0.5f * h;
    box[0] = cx - half_w;
    box[1] = cy - half_h;
    box[2] = cx + half_w;
    box[3] = cy + half_h;
    return is_number(box);
}

static inline bool is_wanted(const HeadRequest& q, int64_t label) { return q.wanted == nullptr || q.wanted[label] != 0; }

static inline void push_number(Search& search, const float* raw_box, float score, int64_t label, int64_t anchor) {
    float box[4];
    if (decode_box(search, raw_box, anchor, box))
        push(search.found, box, score, label, anchor);
    else
        ++search.found.nan;
}

// One anchor whose class values are looked at.
struct Anchor {
    int64_t index;
    const float* box;      // as the head gives it
    const float* classes;  // raw class values
    float objectness;  // 1 where the head has none: multiplying by it changes nothing
};

// Whether none of some values can pass: each is below the floor, or its score is not above conf. False for a NaN.
template <class Kind>
static bool none_of(const float* classes, int64_t count, float objectness, float limit) {
    int32_t any = 0;
    for (int64_t c = 0; c < count; ++c) any |= !(Kind::ranked(classes[c], objectness) <= limit);
    return any == 0;
}

// The decoded box of one anchor, for all of its classes.
struct Place {
    int64_t anchor;
    float box[4];
    bool is_number;

    Place(Search& search, int64_t index, const float* raw) : anchor(index), is_number(decode_box(search, raw, index, box)) {}
};

template <class Kind>
static void add_pair(Search& search, const Place& place, float objectness, float raw, int64_t label) {
    const HeadRequest& q = search.q;
    if (Kind::below(raw, search.floor) || !is_wanted(q, label)) return;
    const float score = objectness * Kind::score(raw);
    if (score <= q.conf) return;  // false for NaN
    if (score == score && place.is_number)
        push(search.found, place.box, score, label, place.anchor);
    else
        ++search.found.nan;
}

// Most classes of an anchor do not pass: they are looked at sixteen together first.
template <class Kind>
static void add_pairs(Search& search, const Anchor& anchor) {
    constexpr int64_t step = 16;
    const int64_t classes = search.q.classes;
    const float limit = Kind::limit(search.floor, search.q.conf);
    reserve(search.found, classes, search.arena);
    const Place place(search, anchor.index, anchor.box);
    for (int64_t c = 0; c < classes; c += step) {
        const int64_t end = c + step < classes ? c + step : classes;
        const bool none = end == c + step ? none_of<Kind>(anchor.classes + c, step, anchor.objectness, limit)
                                          : none_of<Kind>(anchor.classes + c, end - c, anchor.objectness, limit);
        if (none) continue;
        for (int64_t label = c; label < end; ++label)
            add_pair<Kind>(search, place, anchor.objectness, anchor.classes[label], label);
    }
}

enum : int64_t { none_passes = -1, not_a_number = -2 };

// The first class of the highest objectness * score, or of the highest logit.
template <class Kind>
static int64_t best_of_row(const float* classes, int64_t count, float objectness, float floor) {
    int32_t top = INT32_MIN;
    uint32_t high = 0;
    for (int64_t c = 0; c < count; ++c) {
        const int32_t bits = bits_of(Kind::ranked(classes[c], objectness)), key = Kind::key(bits);
        const uint32_t mark = Kind::mark_bits(bits);
        top = key > top ? key : top;
        high = mark > high ? mark : high;
    }
    if (Kind::is_nan_key(top, high)) return not_a_number;
    const float best = float_of(Kind::key(top));
    if (!(best > floor)) return none_passes;
    int64_t c = 0;
    while (Kind::ranked(classes[c], objectness) != best) ++c;
    return c;
}

template <class Kind>
static void add_best_of_row(Search& search, const Anchor& anchor) {
    const int64_t label = best_of_row<Kind>(anchor.classes, search.q.classes, anchor.objectness, search.floor);
    if (label == not_a_number) ++search.found.nan;
    if (label < 0 || !is_wanted(search.q, label)) return;
    const float score = anchor.objectness * Kind::score(anchor.classes[label]);
    if (!(score > search.q.conf)) return;
    reserve(search.found, 1, search.arena);
    push_number(search, anchor.box, score, label, anchor.index);
}

}  // namespace boxmill::BOXMILL_ISA::heads_detail
