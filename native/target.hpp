// What the resizing kernels share: the source's rows, the part of the resized image that the network sees, and the way from
// whole grey levels to the network's float32: colour order, normalisation, layout and border.
#pragma once
#include <cstring>

#include "api.hpp"
#include "arena.hpp"

namespace boxmill::BOXMILL_ISA {

// The source's rows, safe to read `past` bytes beyond their ends: where that would leave the image, a copy is read.
struct SourceRows {
    const LetterboxRequest& request;
    int64_t past;

    const uint8_t* at(int64_t y) const {
        const int64_t last = request.source_height - 1;
        return request.source + (y < 0 ? 0 : y < last ? y : last) * request.source_step;
    }

    uint8_t* copy(Arena& arena) const { return arena.take<uint8_t>(row_bytes() + size_t(past)); }  // for `readable`

    // The row, or its content in `copy`.
    const uint8_t* readable(const uint8_t* row, uint8_t* copy) const {
        const int64_t last = request.source_step > 0 ? (request.source_height - 1) * request.source_step : 0;
        const int64_t behind = last - (row - request.source);  // bytes of other rows after this one
        if (behind >= past) return row;
        std::memcpy(copy, row, row_bytes());
        return copy;
    }

private:
    size_t row_bytes() const { return size_t(request.source_width) * 3; }
};

// The part of the resized image that lies in the network's input; all of it, unless it is cropped.
struct Window {
    int32_t left, top, width, height;  // in the network's input
    int64_t from_left, from_top;       // in the resized image

    explicit Window(const LetterboxRequest& r)
        : left(int32_t(r.left > 0 ? r.left : 0)), top(int32_t(r.top > 0 ? r.top : 0)),
          width(within(r.width, left, r.left + r.resized_width)), height(within(r.height, top, r.top + r.resized_height)),
          from_left(left - r.left), from_top(top - r.top) {}

private:
    static int32_t within(int32_t side, int32_t start, int64_t end) { return int32_t(end < side ? end : side) - start; }
};

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
    Window window;
    Channel channels[3];
    float border[3];

    explicit Target(const LetterboxRequest& r) : request(r), window(r) {
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

    void borders_above_and_below() const {
        for (int32_t y = 0; y < window.top; ++y) border_row(y, 0, request.width);
        for (int32_t y = window.top + window.height; y < request.height; ++y) border_row(y, 0, request.width);
    }

    // Row `y` of the network's input: (window.width,) R | G << 8 | B << 16, and the border on both sides.
    void image_row(int32_t y, const uint32_t* row) const {
        const int32_t left = window.left, count = window.width;
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

}  // namespace boxmill::BOXMILL_ISA
