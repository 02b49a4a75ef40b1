// One image's raw head -> its final boxes: candidates, decoding, NMS, back to source pixels.
#pragma once
#include "heads_levels.hpp"
#include "heads_rows.hpp"
#include "nms.hpp"
#include "soft.hpp"

namespace boxmill::BOXMILL_ISA {

namespace heads_detail {

// Whether a number is above the floor, or NaN. Of a float16 the bits are compared: widening 25200 of them took 4 us.
template <class Order>
static bool is_above(const float* at, typename Order::Value, float floor) {
    return !(*at <= floor);
}
template <class Order>
static bool is_above(const Half* at, typename Order::Value least, float) {
    return may_pass<Order>(Order::load(at), least);
}

// (A, 5 + C): the objectness decides whether the rest of a row is read at all.
template <class Order>
static Candidates find_in_columns(const HeadRequest& q, Arena& arena) {
    using Kind = typename Order::Kind;
    Search search{q, arena, Kind::floor(q.conf)};
    const typename Order::Value least = Order::least(search.floor);
    float* box = arena.take<float>(4);
    float* classes = arena.take<float>(static_cast<size_t>(q.classes));
    for (int64_t a = 0; a < q.anchors; ++a) {
        const typename Order::Element* row = row_of<Order>(q, a);
        if (!is_above<Order>(row + 4, least, search.floor)) continue;
        const float objectness = Kind::score(value_of(row[4]));
        search.found.nan += objectness != objectness;
        if (!(objectness > q.conf)) continue;
        const Anchor anchor{a, as_floats(row, 4, box), as_floats(row + 5, q.classes, classes), objectness};
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

template <class Order>
static Candidates find_whole(const HeadRequest& q, Arena& arena) {
    return q.head == Head::yolo ? find_in_rows<Order>(q, arena) : find_in_columns<Order>(q, arena);
}

static Candidates find(const HeadRequest& q, Arena& arena) {
    const bool logits = q.activation == Activation::sigmoid;
    switch (q.head) {
        case Head::yolo:
        case Head::yolov5:
        case Head::yolox:
            if (q.half) return logits ? find_whole<HalfLogitOrder>(q, arena) : find_whole<HalfScoreOrder>(q, arena);
            return logits ? find_whole<LogitOrder>(q, arena) : find_whole<ScoreOrder>(q, arena);
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
