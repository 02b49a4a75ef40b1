// Letterbox in one pass: bilinear resize, colour order, normalisation, layout and border, from uint8 RGB to float32.
//
// Sample positions are OpenCV's INTER_LINEAR: (i + 0.5) * source / resized - 0.5, clamped to the edge pixels. Blending is
// 16-bit fixed point, in 1/128 of a grey level with weights of 1/32768: a result is within 0.02 grey levels of exact
// arithmetic, whole pixels stay whole, and every instruction set gives the same bits because only integers are blended.
#pragma once
#include <cstring>

#include "api.hpp"
#include "arena.hpp"

namespace boxmill::BOXMILL_ISA {

static constexpr int fraction_bits = 7;   // of a blended sample: 255 << 7 is the most that an int16 holds
static constexpr int tail_bytes = 16;     // a copy of a row's last two pixels, padded for 8-byte loads

// Where one output row or column samples its axis: source[first] + weight * (source[first + 1] - source[first]).
struct Sample {
    int32_t first;
    int16_t weight;  // of 32768; 0 wherever first is the last pixel
};

static inline Sample sample_at(int32_t index, int32_t source, int32_t resized) {
    const double position = (index + 0.5) * (static_cast<double>(source) / resized) - 0.5;
    if (position <= 0) return {0, 0};
    const int32_t first = static_cast<int32_t>(position);
    if (first >= source - 1) return {source - 1, 0};
    const int32_t weight = static_cast<int32_t>((position - first) * 32768 + 0.5);
    return {first, static_cast<int16_t>(weight < 32767 ? weight : 32767)};
}

// What every row needs of the columns.
struct Columns {
    int32_t count;          // resized width
    int32_t inner;          // columns before this one read 8 bytes inside the source row; the others read its tail
    int32_t tail_start;     // byte offset in the row at which the tail begins
    const int32_t* offset;  // (count,) byte offset of the left pixel, in the row or in its tail
    const int16_t* weight;  // (count, 4) the column's weight four times over
};

static Columns make_columns(const LetterboxRequest& request, Arena& arena) {
    const int32_t count = request.resized_width, source = request.source_width;
    int32_t* offset = arena.take<int32_t>(count);
    int16_t* weight = arena.take<int16_t>(size_t(count) * 4);
    const int32_t first_tail = source >= 2 ? source - 2 : 0;
    int32_t inner = count;
    for (int32_t x = 0; x < count; ++x) {
        const Sample sample = sample_at(x, source, count);
        const bool in_tail = sample.first >= first_tail;
        if (in_tail && inner == count) inner = x;
        offset[x] = 3 * (in_tail ? sample.first - first_tail : sample.first);
        for (int k = 0; k < 4; ++k) weight[4 * x + k] = sample.weight;
    }
    return {count, inner, 3 * first_tail, offset, weight};
}

// Scratch for one row: four bytes a pixel (R, G, B and one ignored) of each of the four neighbours.
struct Neighbours {
    uint8_t *upper_left, *upper_right, *lower_left, *lower_right;
};

static inline void gather(const uint8_t* upper, const uint8_t* lower, const int32_t* offset, int32_t begin, int32_t end,
                          const Neighbours& to) {
    for (int32_t x = begin; x < end; ++x) {
        uint64_t up, low;
        std::memcpy(&up, upper + offset[x], 8);
        std::memcpy(&low, lower + offset[x], 8);
        const uint32_t pixels[4] = {uint32_t(up), uint32_t(up >> 24), uint32_t(low), uint32_t(low >> 24)};
        std::memcpy(to.upper_left + 4 * x, pixels, 4);
        std::memcpy(to.upper_right + 4 * x, pixels + 1, 4);
        std::memcpy(to.lower_left + 4 * x, pixels + 2, 4);
        std::memcpy(to.lower_right + 4 * x, pixels + 3, 4);
    }
}

static inline int16_t blend(int16_t from, int16_t to, int16_t weight) {
    const int16_t difference = static_cast<int16_t>(to - from);
    return static_cast<int16_t>(from + static_cast<int16_t>((difference * weight + 0x4000) >> 15));
}

static inline int16_t widen(uint8_t pixel) { return static_cast<int16_t>(pixel << fraction_bits); }

static void blend_row(const Neighbours& from, const int16_t* __restrict column_weight, int16_t row_weight, int64_t count,
                      int16_t* __restrict row) {
    const uint8_t* __restrict ul = from.upper_left;
    const uint8_t* __restrict ur = from.upper_right;
    const uint8_t* __restrict ll = from.lower_left;
    const uint8_t* __restrict lr = from.lower_right;
    for (int64_t i = 0; i < count; ++i) {
        const int16_t left = blend(widen(ul[i]), widen(ll[i]), row_weight);
        const int16_t right = blend(widen(ur[i]), widen(lr[i]), row_weight);
        row[i] = blend(left, right, column_weight[i]);
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
                write_plane(row, count, channels[c], request.target + (int64_t(c) * request.height + y) * request.width + left);
        }
        border_row(y, 0, left);
        border_row(y, left + count, request.width - left - count);
    }
};

static void letterbox(const LetterboxRequest& request, Arena& arena) {
    arena.reset();
    const Columns columns = make_columns(request, arena);
    const size_t lanes = size_t(columns.count) * 4;
    const Neighbours near{arena.take<uint8_t>(lanes), arena.take<uint8_t>(lanes), arena.take<uint8_t>(lanes),
                          arena.take<uint8_t>(lanes)};
    int16_t* row = arena.take<int16_t>(lanes);
    uint8_t* tails = arena.take<uint8_t>(2 * tail_bytes);
    std::memset(tails, 0, 2 * tail_bytes);
    const Target target(request);
    const int32_t bottom = request.top + request.resized_height;

    for (int32_t y = 0; y < request.top; ++y) target.border_row(y, 0, request.width);
    for (int32_t y = request.top; y < bottom; ++y) {
        const Sample sample = sample_at(y - request.top, request.source_height, request.resized_height);
        const uint8_t* upper = request.source + sample.first * request.source_step;
        const uint8_t* lower = sample.weight != 0 ? upper + request.source_step : upper;  // no second row where it counts nothing
        const int32_t tail = 3 * request.source_width - columns.tail_start;
        std::memcpy(tails, upper + columns.tail_start, tail);
        std::memcpy(tails + tail_bytes, lower + columns.tail_start, tail);
        gather(upper, lower, columns.offset, 0, columns.inner, near);
        gather(tails, tails + tail_bytes, columns.offset, columns.inner, columns.count, near);
        blend_row(near, columns.weight, sample.weight, lanes, row);
        target.image_row(y, row);
    }
    for (int32_t y = bottom; y < request.height; ++y) target.border_row(y, 0, request.width);
}

}  // namespace boxmill::BOXMILL_ISA
