// One image's raw head -> its final boxes: candidates, decoding, NMS, back to source pixels.
#pragma once
#include "heads_levels.hpp"
#include "heads_rows.hpp"
#include "nms.hpp"
#include "soft.hpp"

namespace boxmill::BOXMILL_ISA {

namespace heads_detail {

// (A, 5 + C): the objectness decides whether the rest of a row is read at all.
template <class Kind, class Element>
static Candidates find_in_columns(const HeadRequest& q, Arena& arena) {
    Search search{q, arena, Kind::floor(q.conf)};
    const int64_t width = 5 + q.classes;
    float* room = arena.take<float>(static_cast<size_t>(width));
    for (int64_t a = 0; a < q.anchors; ++a) {
        const Element* row = static_cast<const Element*>(q.raw) + a * q.row_step;
        const float raw = value_of(row[4]);
        if (raw <= search.floor) continue;  // false for NaN
        const float objectness = Kind::score(raw);
        search.found.nan += objectness != objectness;
        if (!(objectness > q.conf)) continue;
        const float* values = as_floats(row, width, room);
        const Anchor anchor{a, values, values + 5, objectness};
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

static HeadReply gather(const HeadRequest& q, const Candidates& found, const SoftReply& kept, Arena& arena) {
    const size_t n = static_cast<size_t>(kept.count);
    float* boxes = arena.take<float>(4 * n);
    float* undecayed = arena.take<float>(n);
    int32_t *classes = arena.take<int32_t>(n), *indices = arena.take<int32_t>(n);
    for (size_t i = 0; i < n; ++i) {
        const size_t from = static_cast<size_t>(kept.kept[i]);
        std::memcpy(boxes + 4 * i, found.boxes + 4 * from, 4 * sizeof(float));
        undecayed[i] = found.scores[from];
        classes[i] = found.classes[from];
        indices[i] = found.anchors[from];
    }
    if (q.geometry != nullptr) {
        const float* g = q.geometry;
        for (size_t i = 0; i < 4 * n; ++i) boxes[i] = to_source(boxes[i], g[i % 2], g[2 + i % 2], g[4 + i % 2]);
    }
    const float* scores = kept.scores == nullptr ? undecayed : kept.scores;
    return {boxes, scores, classes, indices, kept.count, found.nan + kept.nan, kept.truncated, kept.cut};
}

template <class Kind, class Order, class HalfOrder>
static Candidates find_whole(const HeadRequest& q, Arena& arena) {
    if (q.head == Head::yolo) return q.half ? find_in_rows<HalfOrder>(q, arena) : find_in_rows<Order>(q, arena);
    return q.half ? find_in_columns<Kind, Half>(q, arena) : find_in_columns<Kind, float>(q, arena);
}

static Candidates find(const HeadRequest& q, Arena& arena) {
    const bool logits = q.activation == Activation::sigmoid;
    switch (q.head) {
        case Head::yolo:
        case Head::yolov5:
        case Head::yolox:
            return logits ? find_whole<Logits, LogitOrder, HalfLogitOrder>(q, arena)
                          : find_whole<Scores, ScoreOrder, HalfScoreOrder>(q, arena);
        case Head::nanodet:
        case Head::detr: break;
        case Head::selected: return find_selected(q, arena);
    }
    if (q.activation == Activation::softmax) return find_in_softmax(q, arena);
    return logits ? find_in_levels<Logits>(q, arena) : find_in_levels<Scores>(q, arena);
}

// `scores` of the answer: null where they are those of the candidates.
template <class M>
static SoftReply survivors(const HeadRequest& q, const Candidates& found, Arena& arena, M& meter) {
    const void* classes = q.agnostic ? nullptr : found.classes;
    const NmsRequest boxes{found.boxes, found.scores, classes, false, found.count, q.limits};
    if (q.suppression == Suppression::hard) return {nms_detail::metered(boxes, arena, meter), nullptr};
    return soft_detail::metered({boxes, q.suppression == Suppression::gaussian, q.sigma, q.conf}, arena, meter);
}

template <class M>
static HeadReply metered(const HeadRequest& q, Arena& arena, M& meter, int64_t& candidates) {
    const Candidates found = find(q, arena);
    const SoftReply kept = survivors(q, found, arena, meter);
    candidates = found.count - kept.nan;
    const HeadReply reply = gather(q, found, kept, arena);
    meter.end(CostStep::scale);
    return reply;
}

}  // namespace heads_detail

static HeadReply head(const HeadRequest& q, Arena& arena) {
    nms_detail::Unmetered meter;
    int64_t candidates;
    return heads_detail::metered(q, arena, meter, candidates);
}

static HeadReply head_cost(const HeadRequest& q, Arena& arena, NmsCost& cost) {
    nms_detail::Meter meter(cost);
    const HeadReply reply = heads_detail::metered(q, arena, meter, cost.considered);
    if (cost.considered > q.limits.max_nms) cost.considered = q.limits.max_nms;
    return reply;
}

}  // namespace boxmill::BOXMILL_ISA
