// Letterbox in one pass: bilinear resize, colour order, normalisation, layout and border, from uint8 RGB to float32.
//
// The resized pixels are those of OpenCV's INTER_LINEAR for uint8 (4.12 and 5.0, x86-64), bit for bit, because networks were
// trained on them: 1/128 of a grey level, unrounded, moved a published YOLOX's AP by .002 and that of medium objects by
// .004. src/boxmill/images/reference.py is the definition; only integers are blended, so every instruction set gives the
// same bits.
//
// One 8-byte load fetches a pixel and its right neighbour, and a register blends several pairs, whatever the scale. Kernel,
// 1920x1080 -> 640x360, source in cache, EPYC of family 26, GCC 12, ms with AVX-512 | AVX2 | SSE4: three passes of
// auto-vectorised loops over gathered bytes .51 | .82 | 1.39; 16-bit lerps of one pair to 16 bytes, int16 samples .18 | .24
// | .36; this .17 | .21 | .32. bench/letterbox.py measures from Python.
#pragma once
#include "api.hpp"
#include "arena.hpp"
#include "letterbox_lanes.hpp"
#include "target.hpp"

namespace boxmill::BOXMILL_ISA {

// Where one output row or column samples its axis, in float32 as OpenCV has it: the pixel before, or -1, and the weights.
struct Tap {
    int32_t before;
    Weights weights;
};

static inline Tap tap_at(int64_t index, int32_t source, int64_t resized) {
    const double step = 1 / (static_cast<double>(resized) / source);  // not source / resized: that may round otherwise
    const float position = static_cast<float>((index + 0.5) * step - 0.5);
    int32_t before = static_cast<int32_t>(position);
    if (position < before) --before;
    const float fraction = position - before;
    // lrint rounds halves to the even neighbour.
    return {before, {static_cast<int16_t>(__builtin_lrintf((1 - fraction) * weight_one)),
                     static_cast<int16_t>(__builtin_lrintf(fraction * weight_one))}};
}

// What every row needs of the columns; padded to whole groups with reads of the first pixel. Beyond the centres of the
// outermost pixels these alone count.
struct Columns {
    int32_t count;
    const int32_t* offset;   // (count,) byte offset of the left pixel in its row
    const Weights* weights;  // (count,) of it and its right neighbour
};

static Columns make_columns(const LetterboxRequest& request, const Window& window, Arena& arena) {
    const int32_t source = request.source_width, count = (window.width + group - 1) / group * group;
    int32_t* offset = arena.take<int32_t>(count);
    Weights* weights = arena.take<Weights>(count);
    for (int32_t x = 0; x < count; ++x) {
        Tap tap = x < window.width ? tap_at(window.from_left + x, source, request.resized_width) : Tap{0, {0, 0}};
        if (tap.before < 0) tap = {0, {weight_one, 0}};
        if (tap.before >= source - 1) tap = {source - 1, {weight_one, 0}};
        offset[x] = 3 * tap.before;
        weights[x] = tap.weights;
    }
    return {count, offset, weights};
}

// The two source rows of an output row. Beyond the centres of the outermost rows both are the same one, by both weights:
// that is not always the row itself, because each product is rounded down.
struct RowPair {
    const uint8_t *upper, *lower;
    Weights weights;
};

struct Rows {
    SourceRows source;
    uint8_t* scratch[2];

    Rows(const LetterboxRequest& request, Arena& arena) : source{request, pair_bytes - 3} {
        for (uint8_t*& row : scratch) row = source.copy(arena);
    }

    RowPair of(int64_t y) const {
        const Tap tap = tap_at(y, source.request.source_height, source.request.resized_height);
        return {source.at(tap.before), source.at(tap.before + 1), tap.weights};
    }

    // Valid until the next call.
    RowPair readable(const RowPair& rows) const {
        return {source.readable(rows.upper, scratch[0]), source.readable(rows.lower, scratch[1]), rows.weights};
    }
};

static constexpr int prefetch_every = 4;  // columns; with 8, 3840x2160 took twice as long

// One resized row: (columns.count,) R | G << 8 | B << 16. Meanwhile fetches the next pair: processors do not guess the jump
// to another page (AVX-512 from memory, ms without | with: 1920x1080 .30 | .19, 3840x2160 .56 | .34).
static void blend_row(const RowPair& from, const RowPair& next, const Columns columns, uint32_t* row) {
    for (int32_t x = 0; x < columns.count; x += group) {
        const int32_t* offset = columns.offset + x;
        for (int i = 0; i < group; i += prefetch_every) {
            __builtin_prefetch(next.upper + offset[i]);
            __builtin_prefetch(next.lower + offset[i]);
        }
        const Blended upper = blend_across(from.upper, offset, columns.weights + x);
        const Blended lower = blend_across(from.lower, offset, columns.weights + x);
        blend_down(upper, lower, from.weights, row + x);
    }
}

static void letterbox(const LetterboxRequest& request, Arena& arena) {
    const Target target(request);
    const Window& window = target.window;
    const Columns columns = make_columns(request, window, arena);
    const Rows rows(request, arena);
    uint32_t* row = arena.take<uint32_t>(columns.count);
    RowPair next = rows.of(window.from_top);
    for (int32_t y = 0; y < window.height; ++y) {
        const RowPair pair = rows.readable(next);
        if (y + 1 < window.height) next = rows.of(window.from_top + y + 1);
        blend_row(pair, next, columns, row);
        target.image_row(window.top + y, row);
    }
    target.borders_above_and_below();
}

}  // namespace boxmill::BOXMILL_ISA
