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
#include <cstring>

#include "api.hpp"
#include "arena.hpp"
#include "letterbox_lanes.hpp"

namespace boxmill::BOXMILL_ISA {

// Where one output row or column samples its axis, in float32 as OpenCV has it: the pixel before, or -1, and the weights.
struct Tap {
    int32_t before;
    Weights weights;
};

static inline Tap tap_at(int32_t index, int32_t source, int32_t resized) {
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

static Columns make_columns(int32_t source, int32_t resized, Arena& arena) {
    const int32_t count = (resized + group - 1) / group * group;
    int32_t* offset = arena.take<int32_t>(count);
    Weights* weights = arena.take<Weights>(count);
    for (int32_t x = 0; x < count; ++x) {
        Tap tap = x < resized ? tap_at(x, source, resized) : Tap{0, {0, 0}};
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
    const LetterboxRequest& request;
    uint8_t* scratch[2];

    Rows(const LetterboxRequest& r, Arena& arena) : request(r) {
        for (uint8_t*& row : scratch) row = arena.take<uint8_t>(size_t(r.source_width) * 3 + pair_bytes);
    }

    RowPair of(int32_t y) const {
        const Tap tap = tap_at(y, request.source_height, request.resized_height);
        return {row(tap.before), row(tap.before + 1), tap.weights};
    }

    // Safe to read a few bytes past their ends: the last rows in memory are copied. Valid until the next call.
    RowPair readable(const RowPair& rows) const {
        return {padded(rows.upper, scratch[0]), padded(rows.lower, scratch[1]), rows.weights};
    }

private:
    const uint8_t* row(int32_t y) const {
        const int32_t last = request.source_height - 1;
        return request.source + (y < 0 ? 0 : y < last ? y : last) * request.source_step;
    }

    const uint8_t* padded(const uint8_t* row, uint8_t* copy) const {
        const int64_t last = request.source_step > 0 ? (request.source_height - 1) * request.source_step : 0;
        const int64_t behind = last - (row - request.source);  // bytes of other rows after this one
        if (behind >= pair_bytes - 3) return row;
        std::memcpy(copy, row, size_t(request.source_width) * 3);
        return copy;
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

// One network channel: value = (pixel * scale - mean) / std, in float32.
struct Channel {
    float scale, mean, std;
    bool shifted;  // mean and std do something
    int from;      // channel of the RGB source
};

static inline float normalised(float pixel, const Channel& channel) {
    const float scaled = pixel * channel.scale;
    return channel.shifted ? (scaled - channel.mean) / channel.std : scaled;
}

static inline float channel_of(uint32_t pixel, int shift) { return static_cast<float>(int32_t(pixel >> shift & 255)); }

static void write_plane(const uint32_t* __restrict row, int32_t count, const Channel channel, float* __restrict target) {
    const int shift = 8 * channel.from;
    if (channel.shifted) {
        for (int32_t x = 0; x < count; ++x)
            target[x] = (channel_of(row[x], shift) * channel.scale - channel.mean) / channel.std;
    } else {
        for (int32_t x = 0; x < count; ++x) target[x] = channel_of(row[x], shift) * channel.scale;
    }
}

static void write_pixels(const uint32_t* __restrict row, int32_t count, const Channel (&channels)[3],
                         float* __restrict target) {
    for (int32_t x = 0; x < count; ++x)
        for (int c = 0; c < 3; ++c) target[3 * x + c] = normalised(channel_of(row[x], 8 * channels[c].from), channels[c]);
}

static void fill(float* target, int64_t count, float value) {
    for (int64_t i = 0; i < count; ++i) target[i] = value;
}

static void fill_pixels(float* target, int64_t count, const float (&value)[3]) {
    for (int64_t i = 0; i < count; ++i)
        for (int c = 0; c < 3; ++c) target[3 * i + c] = value[c];
}

// Where the network's rows lie and what its border holds.
struct Target {
    const LetterboxRequest& request;
    Channel channels[3];
    float border[3];

    explicit Target(const LetterboxRequest& r) : request(r) {
        for (int c = 0; c < 3; ++c) {
            channels[c] = {r.scale, r.mean[c], r.std[c], r.mean[c] != 0 || r.std[c] != 1, r.bgr ? 2 - c : c};
            border[c] = normalised(r.pad, channels[c]);
        }
    }

    void border_row(int32_t y, int32_t left, int32_t width) const {
        if (request.channels_last) {
            fill_pixels(request.target + 3 * (int64_t(y) * request.width + left), width, border);
            return;
        }
        for (int c = 0; c < 3; ++c)
            fill(request.target + (int64_t(c) * request.height + y) * request.width + left, width, border[c]);
    }

    void image_row(int32_t y, const uint32_t* row) const {
        const int32_t left = request.left, count = request.resized_width;
        if (request.channels_last) {
            write_pixels(row, count, channels, request.target + 3 * (int64_t(y) * request.width + left));
        } else {
            for (int c = 0; c < 3; ++c)
                write_plane(row, count, channels[c],
                            request.target + (int64_t(c) * request.height + y) * request.width + left);
        }
        border_row(y, 0, left);
        border_row(y, left + count, request.width - left - count);
    }
};

static void letterbox(const LetterboxRequest& request, Arena& arena) {
    const Columns columns = make_columns(request.source_width, request.resized_width, arena);
    const Rows rows(request, arena);
    const Target target(request);
    uint32_t* row = arena.take<uint32_t>(columns.count);
    const int32_t bottom = request.top + request.resized_height;
    for (int32_t y = 0; y < request.top; ++y) target.border_row(y, 0, request.width);
    RowPair next = rows.of(0);
    for (int32_t y = request.top; y < bottom; ++y) {
        const RowPair pair = rows.readable(next);
        if (y + 1 < bottom) next = rows.of(y + 1 - request.top);
        blend_row(pair, next, columns, row);
        target.image_row(y, row);
    }
    for (int32_t y = bottom; y < request.height; ++y) target.border_row(y, 0, request.width);
}

}  // namespace boxmill::BOXMILL_ISA
