// One image's raw head -> its final boxes: candidates, decoding, NMS, back to source pixels.
//
// How the scan of a (4 + C, A) head came to be (8400 anchors, 80 classes, one thread, bench/postprocess.py):
//   Class rows are streamed whole, eight at a time (four and sixteen measured alike, and a head from memory takes 1.0 to
//   1.2 times what its reading takes); only the eight that hold an anchor's maximum are remembered, and the class is looked
//   up for candidates alone. Scores are compared as integers: for floats >= 0 the order is the same, a negative
//   score can never be a candidate, and one signed and one unsigned maximum together tell exactly whether a NaN was there.
#pragma once
#include "heads_levels.hpp"
#include "nms.hpp"

namespace boxmill::BOXMILL_ISA {

namespace heads_detail {

constexpr int group_rows = 8;  // class rows folded in one pass

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

static inline void load_column(const HeadRequest& q, int64_t anchor, float* column) {
    for (int k = 0; k < 4; ++k) column[k] = q.raw[k * q.anchors + anchor];
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
        const Anchor anchor{a, row, row + 5, 1, objectness};
        if (q.multi_label)
            add_pairs<Kind>(search, anchor);
        else
            add_best_of_row<Kind>(search, anchor);
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

static Candidates find(const HeadRequest& q, Arena& arena) {
    const bool logits = q.activation == Activation::sigmoid;
    switch (q.head) {
        case Head::yolo: return logits ? find_in_rows<Logits>(q, arena) : find_in_rows<Scores>(q, arena);
        case Head::yolov5:
        case Head::yolox: return logits ? find_in_columns<Logits>(q, arena) : find_in_columns<Scores>(q, arena);
        case Head::nanodet:
        case Head::detr: break;
        case Head::selected: return find_selected(q, arena);
    }
    if (q.activation == Activation::softmax) return find_in_softmax(q, arena);
    return logits ? find_in_levels<Logits>(q, arena) : find_in_levels<Scores>(q, arena);
}

}  // namespace heads_detail

static HeadReply head(const HeadRequest& q, Arena& arena) {
    using namespace heads_detail;
    const Candidates found = find(q, arena);
    const void* classes = q.agnostic ? nullptr : found.classes;
    const NmsReply kept = nms({found.boxes, found.scores, classes, false, found.count, q.limits}, arena);
    return gather(q, found, kept, arena);
}

}  // namespace boxmill::BOXMILL_ISA
