// One image's raw head -> its final boxes: candidates, decoding, NMS, back to source pixels.
//
// How the scan of a (4 + C, A) head came to be (8400 anchors, 80 classes, one thread, bench/postprocess.py):
//   Class rows are streamed whole, eight at a time (four and sixteen measured alike, and a head from memory takes 1.0 to
//   1.2 times what its reading takes); only the eight that hold an anchor's maximum are remembered, and the class is looked
//   up for candidates alone. Scores are compared as integers: for floats >= 0 the order is the same, a negative
//   score can never be a candidate, and one signed and one unsigned maximum together tell exactly whether a NaN was there.
#pragma once
#include <cmath>
#include <cstring>

#include "api.hpp"
#include "arena.hpp"
#include "nms.hpp"

namespace boxmill::BOXMILL_ISA {

namespace heads_detail {

constexpr uint32_t infinity_bits = 0x7F800000u;
constexpr int64_t most_candidates = INT32_MAX - 64;  // what nms can index
constexpr int group_rows = 8;  // class rows folded in one pass

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

// How raw class values are compared. `Value` orders them, `mark` is what a maximum of must reveal a NaN, `score` is final.
struct Scores {
    using Value = int32_t;
    static Value load(const float* at) { return bits_of(*at); }
    static Value lowest() { return INT32_MIN; }
    static uint32_t mark(Value value) { return static_cast<uint32_t>(value); }
    static bool is_nan(Value best, uint32_t mark) {  // positive NaNs win as signed integers, negative ones as unsigned
        return (best > static_cast<int32_t>(infinity_bits)) | (mark > 0xFF800000u);
    }
    static float raw(Value value) { return float_of(value); }
    static float score(float raw) { return raw; }
    static float floor(float conf) { return conf; }
    static bool below(float, float) { return false; }
    // In a row, products with the objectness are compared, and a value's bits are its key.
    static float ranked(float value, float objectness) { return objectness * value; }
    static int32_t key(int32_t bits) { return bits; }
    static uint32_t mark_bits(int32_t bits) { return static_cast<uint32_t>(bits); }
    static bool is_nan_key(int32_t top, uint32_t high) { return is_nan(top, high); }
};

struct Logits {
    using Value = float;
    static Value load(const float* at) { return *at; }
    static Value lowest() { return -INFINITY; }
    static uint32_t mark(Value value) { return static_cast<uint32_t>(bits_of(value)) << 1; }
    static bool is_nan(Value, uint32_t mark) { return mark > infinity_bits << 1; }
    static float raw(Value value) { return value; }
    static float score(float raw) { return sigmoid(raw); }
    static bool below(float raw, float floor) { return raw <= floor; }
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

// The yolox grid cell of an anchor; anchors are asked for in increasing order.
struct Grid {
    int32_t level = 0;
    int64_t first = 0;  // the level's first anchor

    void cell(const HeadRequest& q, int64_t anchor, float* x, float* y, float* stride) {
        for (;;) {
            const int32_t step = q.strides[level];
            const int64_t width = q.network_width / step, cells = width * (q.network_height / step);
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

// cx, cy, w, h as the head gives them -> x1, y1, x2, y2 in network pixels; false: a coordinate is NaN.
static inline bool decode_box(Search& search, const float* raw, int64_t anchor, float* box) {
    const HeadRequest& q = search.q;
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
    return box[0] == box[0] && box[1] == box[1] && box[2] == box[2] && box[3] == box[3];
}

// What the scan of a (4 + C, A) head leaves for each anchor.
template <class Kind>
struct Best {
    typename Kind::Value* value;  // (A,) class maximum
    uint32_t* mark;               // (A,) reveals a NaN
    int32_t* row;                 // (A,) first class of the group that holds the maximum
};

template <class Kind, int rows>
static void fold_rows(const float* __restrict raw, int64_t anchors, int32_t first, const Best<Kind>& best) {
    using Value = typename Kind::Value;
    Value* __restrict value = best.value;
    uint32_t* __restrict mark = best.mark;
    int32_t* __restrict row = best.row;
    for (int64_t a = 0; a < anchors; ++a) {
        Value top = Kind::load(raw + a);
        uint32_t high = Kind::mark(top);
        for (int r = 1; r < rows; ++r) {
            const Value v = Kind::load(raw + r * anchors + a);
            const uint32_t m = Kind::mark(v);
            top = v > top ? v : top;
            high = m > high ? m : high;
        }
        const Value old = value[a];
        row[a] = top > old ? first : row[a];
        value[a] = top > old ? top : old;
        mark[a] = high > mark[a] ? high : mark[a];
    }
}

template <class Kind>
static Best<Kind> scan_rows(const HeadRequest& q, Arena& arena) {
    const size_t n = static_cast<size_t>(q.anchors);
    const Best<Kind> best{arena.take<typename Kind::Value>(n), arena.take<uint32_t>(n), arena.take<int32_t>(n)};
    for (size_t a = 0; a < n; ++a) {
        best.value[a] = Kind::lowest();
        best.mark[a] = 0;
        best.row[a] = 0;
    }
    int64_t c = 0;
    for (; c + group_rows <= q.classes; c += group_rows)
        fold_rows<Kind, group_rows>(q.raw + (4 + c) * q.anchors, q.anchors, static_cast<int32_t>(c), best);
    for (; c < q.classes; ++c) fold_rows<Kind, 1>(q.raw + (4 + c) * q.anchors, q.anchors, static_cast<int32_t>(c), best);
    return best;
}

// Anchors whose maximum may pass, or that hold a NaN, in increasing order.
template <class Kind>
static int64_t pick_anchors(const Best<Kind>& best, int64_t anchors, float floor, int32_t* picked) {
    constexpr int64_t block = 64;
    const typename Kind::Value least = Kind::load(&floor);
    int64_t count = 0;
    for (int64_t start = 0; start < anchors; start += block) {
        const int64_t end = start + block < anchors ? start + block : anchors;
        int32_t any = 0;
        for (int64_t a = start; a < end; ++a) any |= (best.value[a] > least) | Kind::is_nan(best.value[a], best.mark[a]);
        if (any == 0) continue;
        for (int64_t a = start; a < end; ++a) {
            picked[count] = static_cast<int32_t>(a);
            count += (best.value[a] > least) | Kind::is_nan(best.value[a], best.mark[a]);
        }
    }
    return count;
}

static inline bool is_wanted(const HeadRequest& q, int64_t label) { return q.wanted == nullptr || q.wanted[label] != 0; }

static inline void load_column(const HeadRequest& q, int64_t anchor, float* column) {
    for (int k = 0; k < 4; ++k) column[k] = q.raw[k * q.anchors + anchor];
}

static inline void push_number(Search& search, const float* raw_box, float score, int64_t label, int64_t anchor) {
    float box[4];
    if (decode_box(search, raw_box, anchor, box))
        push(search.found, box, score, label, anchor);
    else
        ++search.found.nan;
}

template <class Kind>
static void add_best_of_column(Search& search, const Best<Kind>& best, int64_t a) {
    const HeadRequest& q = search.q;
    if (Kind::is_nan(best.value[a], best.mark[a])) {
        ++search.found.nan;
        return;
    }
    const float raw = Kind::raw(best.value[a]), score = Kind::score(raw);
    if (!(score > q.conf)) return;
    int64_t label = best.row[a];
    while (q.raw[(4 + label) * q.anchors + a] != raw) ++label;
    if (!is_wanted(q, label)) return;
    float column[4];
    load_column(q, a, column);
    push_number(search, column, score, label, a);
}

// One anchor whose every class is looked at.
struct Anchor {
    int64_t index;
    const float* box;      // cx, cy, w, h as the head gives them
    const float* classes;  // raw class values, `step` floats apart
    int64_t step;
    float objectness;  // 1 where the head has none: multiplying by it changes nothing
};

template <class Kind>
static void add_pairs(Search& search, const Anchor& anchor) {
    const HeadRequest& q = search.q;
    Candidates& found = search.found;
    reserve(found, q.classes, search.arena);
    float box[4];
    const bool is_number = decode_box(search, anchor.box, anchor.index, box);
    for (int64_t c = 0; c < q.classes; ++c) {
        const float raw = anchor.classes[c * anchor.step];
        if (Kind::below(raw, search.floor) || !is_wanted(q, c)) continue;
        const float score = anchor.objectness * Kind::score(raw);
        if (score <= q.conf) continue;  // false for NaN
        if (score == score && is_number)
            push(found, box, score, c, anchor.index);
        else
            ++found.nan;
    }
}

// (4 + C, A)
template <class Kind>
static Candidates find_in_rows(const HeadRequest& q, Arena& arena) {
    Search search{q, arena, Kind::floor(q.conf)};
    const Best<Kind> best = scan_rows<Kind>(q, arena);
    int32_t* picked = arena.take<int32_t>(static_cast<size_t>(q.anchors));
    const int64_t count = pick_anchors(best, q.anchors, search.floor, picked);
    if (!q.multi_label) reserve(search.found, count, arena);
    for (int64_t i = 0; i < count; ++i) {
        const int64_t a = picked[i];
        if (q.multi_label) {
            float column[4];
            load_column(q, a, column);
            add_pairs<Kind>(search, {a, column, q.raw + 4 * q.anchors + a, q.anchors, 1.0f});
        } else {
            add_best_of_column(search, best, a);
        }
    }
    return search.found;
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
static void add_best_of_row(Search& search, const float* row, int64_t a, float objectness) {
    const int64_t label = best_of_row<Kind>(row + 5, search.q.classes, objectness, search.floor);
    if (label == not_a_number) ++search.found.nan;
    if (label < 0 || !is_wanted(search.q, label)) return;
    const float score = objectness * Kind::score(row[5 + label]);
    if (!(score > search.q.conf)) return;
    reserve(search.found, 1, search.arena);
    push_number(search, row, score, label, a);
}

// (A, 5 + C): the objectness decides whether the rest of a row is read at all.
template <class Kind>
static Candidates find_in_columns(const HeadRequest& q, Arena& arena) {
    Search search{q, arena, Kind::floor(q.conf)};
    for (int64_t a = 0; a < q.anchors; ++a) {
        const float* row = q.raw + a * (5 + q.classes);
        if (row[4] <= search.floor) continue;  // false for NaN
        const float objectness = Kind::score(row[4]);
        search.found.nan += objectness != objectness;
        if (!(objectness > q.conf)) continue;
        if (q.multi_label)
            add_pairs<Kind>(search, {a, row, row + 5, 1, objectness});
        else
            add_best_of_row<Kind>(search, row, a, objectness);
    }
    return search.found;
}

// source = (network - pad) / scale, then into the image.
static inline float to_source(float value, float scale, float pad, float limit) {
    value = (value - pad) / scale;
    value = value > 0.0f ? value : 0.0f;
    return value < limit ? value : limit;
}

static HeadReply gather(const HeadRequest& q, const Candidates& found, const NmsReply& kept, Arena& arena) {
    const size_t n = static_cast<size_t>(kept.count);
    float *boxes = arena.take<float>(4 * n), *scores = arena.take<float>(n);
    int32_t *classes = arena.take<int32_t>(n), *indices = arena.take<int32_t>(n);
    for (size_t i = 0; i < n; ++i) {
        const size_t from = static_cast<size_t>(kept.kept[i]);
        std::memcpy(boxes + 4 * i, found.boxes + 4 * from, 4 * sizeof(float));
        scores[i] = found.scores[from];
        classes[i] = found.classes[from];
        indices[i] = found.anchors[from];
    }
    if (q.geometry != nullptr) {
        const float* g = q.geometry;
        for (size_t i = 0; i < 4 * n; ++i) boxes[i] = to_source(boxes[i], g[i % 2], g[2 + i % 2], g[4 + i % 2]);
    }
    return {boxes, scores, classes, indices, kept.count, found.nan + kept.nan, kept.truncated, kept.cut};
}

}  // namespace heads_detail

static HeadReply head(const HeadRequest& q, Arena& arena) {
    using namespace heads_detail;
    Candidates found;
    if (q.head == Head::yolo)
        found = q.sigmoid ? find_in_rows<Logits>(q, arena) : find_in_rows<Scores>(q, arena);
    else
        found = q.sigmoid ? find_in_columns<Logits>(q, arena) : find_in_columns<Scores>(q, arena);
    const void* classes = q.agnostic ? nullptr : found.classes;
    const NmsReply kept = nms({found.boxes, found.scores, classes, false, found.count, q.limits}, arena);
    return gather(q, found, kept, arena);
}

}  // namespace boxmill::BOXMILL_ISA
