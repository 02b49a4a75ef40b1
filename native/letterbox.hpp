// Letterbox in one pass: bilinear resize, colour order, normalisation, layout and border, from uint8 RGB to float32.
//
// Sample positions are OpenCV's INTER_LINEAR: (i + 0.5) * source / resized - 0.5, clamped to the edge pixels. Blending is
// 16-bit fixed point, in 1/128 of a grey level with weights of 1/32768: a result is within 0.02 grey levels of exact
// arithmetic, whole pixels stay whole, and every instruction set gives the same bits because only integers are blended.
//
// One 8-byte load fetches a pixel and its right neighbour, so that an output pixel costs two loads and two 16-bit lerps,
// whatever the scale. Kernel alone, 1920x1080 -> 640x360, source in cache, EPYC of family 26, GCC 12, ms with AVX-512 |
// AVX2 | SSE4: three passes of auto-vectorised loops over gathered bytes .51 | .82 | 1.39; this .22 | .32 | .49.
// bench/letterbox.py measures from Python.
#pragma once
#include <cstring>

#include "api.hpp"
#include "arena.hpp"
#include "letterbox_lanes.hpp"

namespace boxmill::BOXMILL_ISA {

// Where one output row or column samples its axis: source[first] + weight / 32768 * (source[first + 1] - source[first]).
struct Sample {
    int32_t first;
    int16_t weight;  // 0 wherever first is the last pixel
};

static inline Sample sample_at(int32_t index, int32_t source, int32_t resized) {
    const double position = (index + 0.5) * (static_cast<double>(source) / resized) - 0.5;
    if (position <= 0) return {0, 0};
    const int32_t first = static_cast<int32_t>(position);
    if (first >= source - 1) return {source - 1, 0};
    const int32_t weight = static_cast<int32_t>((position - first) * 32768 + 0.5);
    return {first, static_cast<int16_t>(weight < 32767 ? weight : 32767)};
}

// What every row needs of the columns; padded to whole groups with reads of the first pixel.
struct Columns {
    int32_t count;
    const int32_t* offset;  // (count,) byte offset of the left pixel in its row
    const int16_t* weight;  // (count, 8) the column's weight, once for each lane; 64-byte aligned
};

static Columns make_columns(int32_t source, int32_t resized, Arena& arena) {
    const int32_t count = (resized + group - 1) / group * group;
    int32_t* offset = arena.take<int32_t>(count);
    int16_t* weight = arena.take<int16_t>(size_t(count) * 8);
    for (int32_t x = 0; x < count; ++x) {
        const Sample sample = x < resized ? sample_at(x, source, resized) : Sample{0, 0};
        offset[x] = 3 * sample.first;
        for (int lane = 0; lane < 8; ++lane) weight[size_t(x) * 8 + lane] = sample.weight;
    }
    return {count, offset, weight};
}

// The two source rows of an output row; the same one twice where the second counts nothing.
struct RowPair {
    const uint8_t *upper, *lower;
    int16_t weight;
};

struct Rows {
    const LetterboxRequest& request;
    uint8_t* scratch[2];

    Rows(const LetterboxRequest& r, Arena& arena) : request(r) {
        for (uint8_t*& row : scratch) row = arena.take<uint8_t>(size_t(r.source_width) * 3 + pair_bytes);
    }

    RowPair of(int32_t y) const {
        const Sample sample = sample_at(y, request.source_height, request.resized_height);
        const uint8_t* upper = request.source + sample.first * request.source_step;
        return {upper, sample.weight != 0 ? upper + request.source_step : upper, sample.weight};
    }

    // Safe to read a few bytes past their ends: the last rows in memory are copied. Valid until the next call.
    RowPair readable(const RowPair& rows) const {
        return {padded(rows.upper, scratch[0]), padded(rows.lower, scratch[1]), rows.weight};
    }

private:
    const uint8_t* padded(const uint8_t* row, uint8_t* copy) const {
        const int64_t last = request.source_step > 0 ? (request.source_height - 1) * request.source_step : 0;
        const int64_t behind = last - (row - request.source);  // bytes of other rows after this one
        if (behind >= pair_bytes - 3) return row;
        std::memcpy(copy, row, size_t(request.source_width) * 3);
        return copy;
    }
};

// One resized row: (columns.count, 4) R, G, B and one to ignore, in 1/128 of a grey level. Meanwhile fetches the next
// pair: processors do not guess the jump to another page (1920x1080 from memory: .56 ms without, .35 with).
static void blend_row(const RowPair& from, const RowPair& next, const Columns columns, int16_t* row) {
    const Lanes down = Lanes{} + from.weight;
    for (int32_t x = 0; x < columns.count; x += group) {
        const int32_t* offset = columns.offset + x;
        __builtin_prefetch(next.upper + *offset);
        __builtin_prefetch(next.lower + *offset);
        const Lanes above = load_pairs(from.upper, offset), below = load_pairs(from.lower, offset);
        Lanes across;
        std::memcpy(&across, columns.weight + size_t(x) * 8, sizeof across);
        const Lanes pairs = above + scaled(below - above, down);
        store_pixels(pairs + scaled(right_neighbours(pairs) - pairs, across), row + size_t(x) * 4);
    }
}

// One network channel: value = (pixel * scale - mean) / std, of a blended sample. `scale` carries the fraction bits; being
// a power of two they round nothing.
struct Channel {
    float scale, mean, std;
    bool shifted;  // mean and std do something
    int from;      // channel of the RGB source
};

static inline float normalised(float sample, const Channel& channel) {
    const float scaled = sample * channel.scale;
    return channel.shifted ? (scaled - channel.mean) / channel.std : scaled;
}

static void write_plane(const int16_t* __restrict row, int32_t count, const Channel channel, float* __restrict target) {
    const int16_t* __restrict from = row + channel.from;
    if (channel.shifted) {
        for (int32_t x = 0; x < count; ++x) target[x] = (from[4 * x] * channel.scale - channel.mean) / channel.std;
    } else {
        for (int32_t x = 0; x < count; ++x) target[x] = from[4 * x] * channel.scale;
    }
}

static void write_pixels(const int16_t* __restrict row, int32_t count, const Channel (&channels)[3],
                         float* __restrict target) {
    for (int32_t x = 0; x < count; ++x)
        for (int c = 0; c < 3; ++c) target[3 * x + c] = normalised(row[4 * x + channels[c].from], channels[c]);
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
            const float unit = r.scale / (1 << fraction_bits);
            channels[c] = {unit, r.mean[c], r.std[c], r.mean[c] != 0 || r.std[c] != 1, r.bgr ? 2 - c : c};
            border[c] = normalised(r.pad * (1 << fraction_bits), channels[c]);
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

    void image_row(int32_t y, const int16_t* row) const {
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
    int16_t* row = arena.take<int16_t>(size_t(columns.count) * 4);
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
