// The two passes of antialiased resizing, in integers: weights in 1 / 2^22, sums of at most 31 bits, whole grey levels after
// each pass, so that every instruction set gives the same bits.
#pragma once
#include <cstdint>
#include <cstring>

#include "lanes.hpp"

namespace boxmill::BOXMILL_ISA {

static constexpr int weight_bits = 22;
static constexpr int32_t rounding_half = 1 << (weight_bits - 1);
static constexpr int low_bits = 11;     // a weight = high * 2^11 + low: both fit the 16 bits that are multiplied in pairs
static constexpr int at_once = 4;       // output pixels of one call of `across`
static constexpr int quad_pixels = 4;   // source pixels of one step
static constexpr int quad_past = 16;    // bytes that may be read behind a row: 3 unused pixels of a quad, 4 bytes to ignore

// The weights of four neighbouring source pixels for one output pixel: of the first two and of the last two, a pair for each
// of R, G, B and nothing, as the registers take them.
struct alignas(64) Quad {
    int16_t high_first[8], low_first[8], high_last[8], low_last[8];

    void set(int pixel, int32_t weight) {
        int16_t *high = pixel < 2 ? high_first : high_last, *low = pixel < 2 ? low_first : low_last;
        for (int channel = 0; channel < 3; ++channel) {
            high[2 * channel + (pixel & 1)] = int16_t(weight >> low_bits);
            low[2 * channel + (pixel & 1)] = int16_t(weight & ((1 << low_bits) - 1));
        }
        high[6 + (pixel & 1)] = low[6 + (pixel & 1)] = 0;
    }
};

// Where the quads of one output pixel lie. Their number may be 0; then the pixel is of no use.
struct Reach {
    int64_t offset;  // bytes, of the first source pixel in its row
    int64_t quads;
};

#if defined(__SSSE3__)

static inline Lanes weights_of(const int16_t (&weights)[8]) {
    return in_each_16_bytes(_mm_load_si128(reinterpret_cast<const __m128i*>(weights)));
}

// The sums of one output pixel, R G B 0 in each 16 bytes for one row each, brought back to grey levels but not clamped.
static inline Lanes summed(const uint8_t* const (&rows)[parts], const Reach reach, const Quad* quads) {
    const Lanes first = in_each_16_bytes(_mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1));
    const Lanes last = in_each_16_bytes(_mm_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1));
    Words high = {}, low = {};
    for (int64_t q = 0; q < reach.quads; ++q) {
        __m128i pixels[parts];
        for (int i = 0; i < parts; ++i) std::memcpy(&pixels[i], rows[i] + reach.offset + 3 * quad_pixels * q, 16);
        const Lanes all = joined(pixels);
        const Lanes two = BOXMILL_MM(shuffle_epi8)(all, first), more = BOXMILL_MM(shuffle_epi8)(all, last);
        high += (Words)BOXMILL_MM(madd_epi16)(two, weights_of(quads[q].high_first));
        low += (Words)BOXMILL_MM(madd_epi16)(two, weights_of(quads[q].low_first));
        high += (Words)BOXMILL_MM(madd_epi16)(more, weights_of(quads[q].high_last));
        low += (Words)BOXMILL_MM(madd_epi16)(more, weights_of(quads[q].low_last));
    }
    // Either sum may wrap around when thousands of pixels become one; their total does not.
    return (Lanes)((Integers)((high << low_bits) + low + uint32_t(rounding_half)) >> weight_bits);
}

static inline void across(const uint8_t* const (&rows)[parts], const Reach* reach, const Quad* quads, int64_t stride,
                          uint32_t* const (&out)[parts]) {
    Lanes sums[at_once];
    for (int x = 0; x < at_once; ++x) sums[x] = summed(rows, reach[x], quads + x * stride);
    const Lanes pixels = BOXMILL_MM(packus_epi16)(BOXMILL_MM(packs_epi32)(sums[0], sums[1]),
                                                  BOXMILL_MM(packs_epi32)(sums[2], sums[3]));
    uint32_t each[parts][at_once];
    std::memcpy(each, &pixels, sizeof each);
    for (int i = 0; i < parts; ++i) std::memcpy(out[i], each[i], sizeof each[i]);
}

#else

static inline void across(const uint8_t* const (&rows)[parts], const Reach* reach, const Quad* quads, int64_t stride,
                          uint32_t* const (&out)[parts]) {
    for (int x = 0; x < at_once; ++x, quads += stride) {
        uint32_t high[3] = {}, low[3] = {};
        const uint8_t* pixel = rows[0] + reach[x].offset;
        for (int64_t q = 0; q < reach[x].quads; ++q, pixel += 3 * quad_pixels) {
            for (int c = 0; c < 3; ++c) {
                for (int i = 0; i < 2; ++i) {
                    high[c] += pixel[3 * i + c] * quads[q].high_first[i] + pixel[3 * i + c + 6] * quads[q].high_last[i];
                    low[c] += pixel[3 * i + c] * quads[q].low_first[i] + pixel[3 * i + c + 6] * quads[q].low_last[i];
                }
            }
        }
        out[0][x] = 0;
        for (int c = 0; c < 3; ++c) {
            const int32_t level = int32_t((high[c] << low_bits) + low[c] + uint32_t(rounding_half)) >> weight_bits;
            out[0][x] |= uint32_t(level < 0 ? 0 : level < 255 ? level : 255) << (8 * c);
        }
    }
}

#endif

// across: `at_once` output pixels of `parts` rows as R | G << 8 | B << 16; the quads of the next pixel lie `stride` further.

static inline Words clamped(Words sums) {
    const Integers levels = (Integers)sums >> weight_bits;
    const Integers positive = levels & (levels >= 0);
    const Integers above = positive > 255;
    return (Words)((positive & ~above) | (above & 255));
}

// One output row of `words` pixels at `x` from `count` rows of as many pixels.
static inline void down(const uint32_t* const* rows, const int32_t* weights, int64_t count, int64_t x, uint32_t* out) {
    Words red = Words{} + uint32_t(rounding_half), green = red, blue = red;
    for (int64_t i = 0; i < count; ++i) {
        Words pixels;
        std::memcpy(&pixels, rows[i] + x, sizeof pixels);
        const uint32_t weight = uint32_t(weights[i]);
        red += (pixels & 255) * weight;
        green += (pixels >> 8 & 255) * weight;
        blue += (pixels >> 16) * weight;  // the fourth byte is 0
    }
    const Words pixels = clamped(red) | clamped(green) << 8 | clamped(blue) << 16;
    std::memcpy(out + x, &pixels, sizeof pixels);
}

}  // namespace boxmill::BOXMILL_ISA
