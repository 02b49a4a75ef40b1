// Candidates of heads whose class values and boxes lie apart, perhaps in several arrays: nanodet, detr, and rows that the
// network itself selected.
#pragma once
#include "heads_candidates.hpp"

namespace boxmill::BOXMILL_ISA::heads_detail {

template <class Element, class Visit>
static void each_row(const HeadRequest& q, Arena& arena, Visit visit) {
    const int64_t value_width = q.classes + (q.activation == Activation::softmax);
    const int64_t box_width = q.head == Head::nanodet ? 4 * static_cast<int64_t>(q.bins) : 4;
    float *values = arena.take<float>(static_cast<size_t>(value_width)), *boxes = arena.take<float>(static_cast<size_t>(box_width));
    int64_t index = 0;
    for (int32_t l = 0; l < q.level_count; ++l) {
        const Level& level = q.levels[l];
        const Element* value = static_cast<const Element*>(level.values);
        const Element* box = static_cast<const Element*>(level.boxes);
        for (int64_t a = 0; a < level.anchors; ++a, ++index, value += level.value_step, box += level.box_step)
            visit(Anchor{index, as_floats(box, box_width, boxes), as_floats(value, value_width, values), 1.0f});
    }
}

// Calls visit(anchor) for every anchor of every level, in order.
template <class Visit>
static void each_anchor(const HeadRequest& q, Arena& arena, Visit visit) {
    if (q.half)
        each_row<Half>(q, arena, visit);
    else
        each_row<float>(q, arena, visit);
}

// Scores, or logits of sigmoids. Boxes are decoded only where a class passes.
template <class Kind>
static Candidates find_in_levels(const HeadRequest& q, Arena& arena) {
    Search search{q, arena, Kind::floor(q.conf)};
    each_anchor(q, arena, [&](const Anchor& anchor) {
        if (!q.multi_label) {
            add_best_of_row<Kind>(search, anchor);
        } else if (best_of_row<Kind>(anchor.classes, q.classes, 1.0f, search.floor) != none_passes) {
            add_pairs<Kind>(search, anchor);
        }
    });
    return search.found;
}

// The softmax of a row of C + 1 values, the last of which is no class. In double and rounded once.
struct Softmax {
    const float* values;
    double top, total;

    double power(int64_t c) const { return std::exp(values[c] - top); }
    float score(int64_t c) const { return static_cast<float>(power(c) / total); }
};

static inline void add_scored(Search& search, const Anchor& anchor, const Softmax& row, int64_t label) {
    if (!is_wanted(search.q, label)) return;
    const float score = row.score(label);
    if (!(score > search.q.conf)) return;
    reserve(search.found, 1, search.arena);
    push_number(search, anchor.box, score, label, anchor.index);
}

static int64_t count_wanted(const HeadRequest& q) {
    int64_t count = 0;
    for (int64_t c = 0; c < q.classes; ++c) count += is_wanted(q, c);
    return count;
}

static void add_softmax(Search& search, const Anchor& anchor, double floor, int64_t wanted) {
    const HeadRequest& q = search.q;
    const int64_t top = best_of_row<Logits>(anchor.classes, q.classes + 1, 1.0f, -INFINITY);
    if (top < 0 || anchor.classes[top] == INFINITY) {  // every score is NaN
        search.found.nan += q.multi_label ? wanted : 1;
        return;
    }
    Softmax row{anchor.classes, anchor.classes[top], 0.0};
    const int64_t best = best_of_row<Logits>(anchor.classes, q.classes, 1.0f, -INFINITY);
    if (best < 0 || row.values[best] - row.top <= floor) return;
    for (int64_t c = 0; c <= q.classes; ++c) row.total += row.power(c);
    if (!q.multi_label) return add_scored(search, anchor, row, best);
    for (int64_t c = 0; c < q.classes; ++c)
        if (row.values[c] - row.top > floor) add_scored(search, anchor, row, c);
}

// A score is at most exp(value - top), so most rows are decided without another exp. The margin is far above every rounding.
static Candidates find_in_softmax(const HeadRequest& q, Arena& arena) {
    Search search{q, arena, 0.0f};
    const double floor = std::log(static_cast<double>(q.conf)) - 1e-3;
    const int64_t wanted = count_wanted(q);
    each_anchor(q, arena, [&](const Anchor& anchor) { add_softmax(search, anchor, floor, wanted); });
    return search.found;
}

// Rows with one score and one class each.
static Candidates find_selected(const HeadRequest& q, Arena& arena) {
    Search search{q, arena, q.conf};
    each_anchor(q, arena, [&](const Anchor& row) {
        const int32_t label = q.labels[row.index];
        const float score = *row.classes;
        if (label == skipped_row || score <= q.conf) return;  // the latter is false for NaN
        if (label == no_class || score != score) {
            ++search.found.nan;
            return;
        }
        reserve(search.found, 1, search.arena);
        push_number(search, row.box, score, label, row.index);
    });
    return search.found;
}

}  // namespace boxmill::BOXMILL_ISA::heads_detail
