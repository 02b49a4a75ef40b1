// Candidates of a (4 + C, A) head.
//
// How the scan came to be (8400 anchors, 80 classes, one thread, bench/postprocess.py):
//   Class rows are streamed whole, eight at a time (four and sixteen measured alike, and a head from memory takes 1.0 to
//   1.2 times what its reading takes); only the eight that hold an anchor's maximum are remembered, and the class is looked
//   up for candidates alone. Scores are compared as integers: for floats >= 0 the order is the same, a negative
//   score can never be a candidate, and one signed and one unsigned maximum together tell exactly whether a NaN was there.
//   float16 is never converted here: 16-bit integers order it as well, twice as many in a register.
#pragma once
#include "heads_candidates.hpp"

namespace boxmill::BOXMILL_ISA::heads_detail {

constexpr int group_rows = 8;  // class rows folded in one pass

template <class T>
static T largest(T one, T other) {
    return one > other ? one : other;
}

// How class values are compared as they lie in memory. `Value` orders them, a maximum of `mark` must reveal a NaN, `number`
// is the value itself, and what is above a number is above `least` of it. `watch` gathers what was seen in one value for a
// whole head: unless that `may_hide` a NaN, the maxima alone tell where one is.
struct ScoreOrder {
    using Kind = Scores;
    using Element = float;
    using Value = int32_t;
    using Mark = uint32_t;
    using Group = int32_t;
    static Value load(const float* at) { return bits_of(*at); }
    static Mark mark(Value value) { return static_cast<Mark>(value); }
    static bool is_nan(Value best, Mark mark) { return Scores::is_nan_key(best, mark); }
    static Mark watch(Mark seen, Value value) { return seen | static_cast<Mark>(value); }
    static bool may_hide(Mark seen) { return seen >> 31; }
    static float number(Value value) { return float_of(value); }
    static Value least(float floor) { return bits_of(floor); }
};

struct LogitOrder {
    using Kind = Logits;
    using Element = float;
    using Value = float;
    using Mark = uint32_t;
    using Group = int32_t;
    static Value load(const float* at) { return *at; }
    static Mark mark(Value value) { return static_cast<Mark>(bits_of(value)) << 1; }
    static bool is_nan(Value, Mark mark) { return Logits::is_nan_key(0, mark); }
    static Mark watch(Mark seen, Value value) { return largest(seen, mark(value)); }
    static bool may_hide(Mark seen) { return is_nan(0, seen); }
    static float number(Value value) { return value; }
    static Value least(float floor) { return floor; }
};

constexpr int32_t half_infinity = 0x7C00;

// The signed magnitude that orders as the float16 does, and back.
static inline int16_t half_key(Half bits) {
    const int16_t sign = static_cast<int16_t>(bits) >> 15;
    return static_cast<int16_t>(((bits & 0x7FFF) ^ sign) - sign);
}
static inline float number_of_key(int32_t key) {
    return value_of(static_cast<Half>(key < 0 ? 0x8000 - key : key));
}

// The key of the largest float16 that is not above `floor`.
static inline int16_t half_floor(float floor) {
    int32_t low = -half_infinity, high = half_infinity + 1;  // the first is at or below it, the last is not
    while (high - low > 1) {
        const int32_t middle = (low + high) / 2;
        (number_of_key(middle) <= floor ? low : high) = middle;
    }
    return static_cast<int16_t>(low);
}

struct HalfScoreOrder {
    using Kind = Scores;
    using Element = Half;
    using Value = int16_t;
    using Mark = uint16_t;
    using Group = int16_t;
    static Value load(const Half* at) { return static_cast<Value>(*at); }
    static Mark mark(Value value) { return static_cast<Mark>(value); }
    static bool is_nan(Value best, Mark mark) { return (best > half_infinity) | (mark > (0x8000 | half_infinity)); }
    static Mark watch(Mark seen, Value value) { return static_cast<Mark>(seen | value); }
    static bool may_hide(Mark seen) { return seen >> 15; }
    static float number(Value value) { return value_of(static_cast<Half>(value)); }
    static Value least(float floor) { return half_floor(floor); }
};

struct HalfLogitOrder {
    using Kind = Logits;
    using Element = Half;
    using Value = int16_t;
    using Mark = uint16_t;
    using Group = int16_t;
    static Value load(const Half* at) { return half_key(*at); }
    static Mark mark(Value value) { return static_cast<Mark>(value < 0 ? -value : value); }
    static bool is_nan(Value, Mark mark) { return mark > half_infinity; }
    static Mark watch(Mark seen, Value value) { return largest(seen, mark(value)); }
    static bool may_hide(Mark seen) { return is_nan(0, seen); }
    static float number(Value value) { return number_of_key(value); }
    static Value least(float floor) { return half_floor(floor); }
};

// What the scan leaves for each anchor.
template <class Order>
struct Best {
    typename Order::Value* value;  // (A,) class maximum
    typename Order::Group* group;  // (A,) the first class that holds the maximum is in this group of rows, or behind it
    typename Order::Mark* mark;    // (A,) reveals a NaN; null where `value` does

    bool is_nan(int64_t a) const { return Order::is_nan(value[a], mark == nullptr ? typename Order::Mark{0} : mark[a]); }
};

template <class Order>
static const typename Order::Element* row_of(const HeadRequest& q, int64_t row) {
    return static_cast<const typename Order::Element*>(q.raw) + row * q.row_step;
}

// Folds `rows` classes, the first of all where `begins`, and returns what was seen in them.
template <class Order, int rows, bool begins>
static typename Order::Mark fold_rows(const typename Order::Element* __restrict raw, int64_t step, int64_t anchors,
                                      typename Order::Group mine, const Best<Order>& best) {
    using Value = typename Order::Value;
    using Mark = typename Order::Mark;
    Value* __restrict value = best.value;
    typename Order::Group* __restrict group = best.group;
    Mark seen = 0;
    for (int64_t a = 0; a < anchors; ++a) {
        Value top = Order::load(raw + a);
        seen = Order::watch(seen, top);
        for (int r = 1; r < rows; ++r) {
            const Value v = Order::load(raw + r * step + a);
            seen = Order::watch(seen, v);
            top = v > top ? v : top;
        }
        if constexpr (begins) {
            group[a] = 0;
            value[a] = top;
        } else {
            const Value old = value[a];
            group[a] = top > old ? mine : group[a];
            value[a] = top > old ? top : old;
        }
    }
    return seen;
}

// Folds `rows` classes from `first` on.
template <class Order, int rows>
static typename Order::Mark fold_classes(const HeadRequest& q, int64_t first, const Best<Order>& best) {
    constexpr int64_t most = INT16_MAX;  // what every Group holds
    const auto group = static_cast<typename Order::Group>(first / group_rows < most ? first / group_rows : most);
    const typename Order::Element* raw = row_of<Order>(q, 4 + first);
    if (first == 0) return fold_rows<Order, rows, true>(raw, q.row_step, q.anchors, group, best);
    return fold_rows<Order, rows, false>(raw, q.row_step, q.anchors, group, best);
}

// A second reading for heads where a NaN may hide behind a larger value.
template <class Order>
static typename Order::Mark* mark_rows(const HeadRequest& q, Arena& arena) {
    using Mark = typename Order::Mark;
    Mark* __restrict mark = arena.take<Mark>(static_cast<size_t>(q.anchors));
    for (int64_t a = 0; a < q.anchors; ++a) mark[a] = 0;
    for (int64_t c = 0; c < q.classes; ++c) {
        const typename Order::Element* __restrict raw = row_of<Order>(q, 4 + c);
        for (int64_t a = 0; a < q.anchors; ++a) mark[a] = largest(mark[a], Order::mark(Order::load(raw + a)));
    }
    return mark;
}

template <class Order>
static Best<Order> scan_rows(const HeadRequest& q, Arena& arena) {
    const size_t n = static_cast<size_t>(q.anchors);
    Best<Order> best{arena.take<typename Order::Value>(n), arena.take<typename Order::Group>(n), nullptr};
    typename Order::Mark seen = 0;
    int64_t c = 0;
    for (; c + group_rows <= q.classes; c += group_rows) seen = largest(seen, fold_classes<Order, group_rows>(q, c, best));
    for (; c < q.classes; ++c) seen = largest(seen, fold_classes<Order, 1>(q, c, best));
    if (Order::may_hide(seen)) best.mark = mark_rows<Order>(q, arena);
    return best;
}

// Anchors whose maximum may pass, or that hold a NaN, in increasing order.
template <class Order>
static int64_t pick_anchors(const Best<Order>& best, int64_t anchors, float floor, int32_t* picked) {
    constexpr int64_t block = 64;
    const typename Order::Value least = Order::least(floor);
    int64_t count = 0;
    for (int64_t start = 0; start < anchors; start += block) {
        const int64_t end = start + block < anchors ? start + block : anchors;
        int32_t any = 0;
        for (int64_t a = start; a < end; ++a) any |= (best.value[a] > least) | best.is_nan(a);
        if (any == 0) continue;
        for (int64_t a = start; a < end; ++a) {
            picked[count] = static_cast<int32_t>(a);
            count += (best.value[a] > least) | best.is_nan(a);
        }
    }
    return count;
}

template <class Order>
static void load_column(const HeadRequest& q, int64_t anchor, float* column) {
    const typename Order::Element* at = row_of<Order>(q, 0) + anchor;
    for (int k = 0; k < 4; ++k) column[k] = value_of(at[k * q.row_step]);
}

template <class Order>
static void add_best_of_column(Search& search, const Best<Order>& best, int64_t a) {
    using Kind = typename Order::Kind;
    const HeadRequest& q = search.q;
    if (best.is_nan(a)) {
        ++search.found.nan;
        return;
    }
    const float raw = Order::number(best.value[a]), score = Kind::score(raw);
    if (!(score > q.conf)) return;
    int64_t label = static_cast<int64_t>(best.group[a]) * group_rows;
    const typename Order::Element* at = row_of<Order>(q, 4) + a;
    while (value_of(at[label * q.row_step]) != raw) ++label;
    if (!is_wanted(q, label)) return;
    float column[4];
    load_column<Order>(q, a, column);
    push_number(search, column, score, label, a);
}

// Values that may pass, or are NaN: row by row, and in a row by increasing anchor; grows in the arena.
struct Pairs {
    int32_t *anchors = nullptr, *labels = nullptr;
    int64_t count = 0, capacity = 0;

    void reserve(int64_t more, Arena& arena) {
        if (capacity - count >= more) return;
        capacity = 2 * capacity > count + more ? 2 * capacity : count + more + 1024;
        anchors = regrown(anchors, count, capacity, arena);
        labels = regrown(labels, count, capacity, arena);
    }
};

// Inlined by force: left to itself, the compiler called it for each float16 once it had several callers (+15 %).
template <class Order>
[[gnu::always_inline]] static inline bool may_pass(typename Order::Value value, typename Order::Value least) {
    return (value > least) | Order::is_nan(value, Order::mark(value));
}

template <class Order>
static void find_pairs(Search& search, int64_t label, Pairs& pairs) {
    constexpr int64_t block = 64;
    const HeadRequest& q = search.q;
    const typename Order::Value least = Order::least(Order::Kind::limit(search.floor, q.conf));
    const typename Order::Element* row = row_of<Order>(q, 4 + label);
    for (int64_t start = 0; start < q.anchors; start += block) {
        const int64_t end = start + block < q.anchors ? start + block : q.anchors;
        int32_t any = 0;
        for (int64_t a = start; a < end; ++a) any |= may_pass<Order>(Order::load(row + a), least);
        if (any == 0) continue;
        pairs.reserve(block, search.arena);
        for (int64_t a = start; a < end; ++a) {
            pairs.anchors[pairs.count] = static_cast<int32_t>(a);
            pairs.labels[pairs.count] = static_cast<int32_t>(label);
            pairs.count += may_pass<Order>(Order::load(row + a), least);
        }
    }
}

// Every (anchor, class): the rows are streamed once, and what was found is then counted into the order of anchors.
template <class Order>
static void add_all_pairs(Search& search) {
    const HeadRequest& q = search.q;
    Pairs pairs;
    for (int64_t c = 0; c < q.classes; ++c)
        if (is_wanted(q, c)) find_pairs<Order>(search, c, pairs);
    reserve(search.found, pairs.count, search.arena);
    const size_t anchors = static_cast<size_t>(q.anchors);
    int64_t* ends = search.arena.take<int64_t>(anchors + 1);  // at first: where each anchor's labels begin
    std::memset(ends, 0, (anchors + 1) * sizeof(int64_t));
    for (int64_t i = 0; i < pairs.count; ++i) ++ends[pairs.anchors[i] + 1];
    for (size_t a = 0; a < anchors; ++a) ends[a + 1] += ends[a];
    int32_t* labels = search.arena.take<int32_t>(static_cast<size_t>(pairs.count));
    for (int64_t i = 0; i < pairs.count; ++i) labels[ends[pairs.anchors[i]]++] = pairs.labels[i];
    int64_t next = 0;
    for (int64_t a = 0; a < q.anchors; ++a) {
        if (next == ends[a]) continue;
        float column[4];
        load_column<Order>(q, a, column);
        const Place place(search, a, column);
        for (; next < ends[a]; ++next)
            add_pair<typename Order::Kind>(search, place, 1.0f, value_of(row_of<Order>(q, 4 + labels[next])[a]), labels[next]);
    }
}

template <class Order>
static Candidates find_in_rows(const HeadRequest& q, Arena& arena) {
    Search search{q, arena, Order::Kind::floor(q.conf)};
    if (q.multi_label) {
        add_all_pairs<Order>(search);
        return search.found;
    }
    const Best<Order> best = scan_rows<Order>(q, arena);
    int32_t* picked = arena.take<int32_t>(static_cast<size_t>(q.anchors));
    const int64_t count = pick_anchors(best, q.anchors, search.floor, picked);
    reserve(search.found, count, arena);
    for (int64_t i = 0; i < count; ++i) add_best_of_column(search, best, picked[i]);
    return search.found;
}

}  // namespace boxmill::BOXMILL_ISA::heads_detail
