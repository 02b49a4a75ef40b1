// The two steps of bilinear resizing, `group` output pixels at a time: across each of two source rows, then down from one
// to the other. The integers are OpenCV's: weights of 11 bits, (left * a0 + right * a1) >> 4, then
// (((upper * b0) >> 16) + ((lower * b1) >> 16) + 2) >> 2, so that every instruction set gives the same bits.
#pragma once
#include <cstdint>
#include <cstring>

#include "lanes.hpp"

namespace boxmill::BOXMILL_ISA {

static constexpr int weight_one = 2048;
static constexpr int pair_bytes = 8;  // read at each pixel: it, its right neighbour, and two bytes to ignore

// Of the pixel before and the pixel after a sampled position. They may add up to 2049, which still leaves 255 at most.
struct Weights {
    int16_t before, after;
};

#if defined(__SSSE3__)

static constexpr int group = 4 * parts;

// Part i of a register holds the pixels 4i to 4i + 3, two of them in each of these: R G B 0 as int16, below 2^15.
struct Blended {
    Lanes first, second;
};

// Pixels `from` and `from` + 1 of each four, with their right neighbours.
static inline Lanes load_pairs(const uint8_t* row, const int32_t* offset, int from) {
    __m128i pairs[parts];
    for (int i = 0; i < parts; ++i) {
        int64_t one, other;
        std::memcpy(&one, row + offset[4 * i + from], pair_bytes);
        std::memcpy(&other, row + offset[4 * i + from + 1], pair_bytes);
        pairs[i] = _mm_set_epi64x(other, one);
    }
    return joined(pairs);
}

// R R' G G' B B' 0 0 as int16, of the first or the second pair in each part, times their weights.
static inline Lanes one_across(Lanes pairs, __m128i order, Lanes weights) {
    const Lanes interleaved = BOXMILL_MM(shuffle_epi8)(pairs, in_each_16_bytes(order));
    return (Lanes)((Words)BOXMILL_MM(madd_epi16)(interleaved, weights) >> 4);
}

// The weights of pixel `from` of each four, once for each channel.
static inline Lanes spread(Lanes weights, int from) {
    return BOXMILL_MM(shuffle_epi8)(weights, BOXMILL_MM(set1_epi32)(0x03020100 + 0x04040404 * from));
}

static inline Lanes two_across(const uint8_t* row, const int32_t* offset, Lanes weights, int from) {
    const __m128i first = _mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1);
    const __m128i second = _mm_setr_epi8(8, -1, 11, -1, 9, -1, 12, -1, 10, -1, 13, -1, -1, -1, -1, -1);
    const Lanes pairs = load_pairs(row, offset, from);
    return BOXMILL_MM(packs_epi32)(one_across(pairs, first, spread(weights, from)),
                                   one_across(pairs, second, spread(weights, from + 1)));
}

static inline Blended blend_across(const uint8_t* row, const int32_t* offset, const Weights* weights) {
    Lanes all;
    std::memcpy(&all, weights, sizeof all);
    return {two_across(row, offset, all, 0), two_across(row, offset, all, 2)};
}

static inline Lanes two_down(Lanes upper, Lanes lower, Weights weights) {
    const Halves above = (Halves)BOXMILL_MM(mulhi_epi16)(upper, BOXMILL_MM(set1_epi16)(weights.before));
    const Halves below = (Halves)BOXMILL_MM(mulhi_epi16)(lower, BOXMILL_MM(set1_epi16)(weights.after));
    return (Lanes)((above + below + 2) >> 2);
}

static inline void blend_down(const Blended& upper, const Blended& lower, Weights weights, uint32_t* pixels) {
    const Lanes bytes = BOXMILL_MM(packus_epi16)(two_down(upper.first, lower.first, weights),
                                                 two_down(upper.second, lower.second, weights));
    std::memcpy(pixels, &bytes, sizeof bytes);
}

#else

static constexpr int group = 1;

struct Blended {
    int32_t channels[3];
};

static inline Blended blend_across(const uint8_t* row, const int32_t* offset, const Weights* weights) {
    Blended blended;
    const uint8_t* pair = row + *offset;
    for (int c = 0; c < 3; ++c) blended.channels[c] = (pair[c] * weights->before + pair[c + 3] * weights->after) >> 4;
    return blended;
}

static inline void blend_down(const Blended& upper, const Blended& lower, Weights weights, uint32_t* pixels) {
    *pixels = 0;
    for (int c = 0; c < 3; ++c) {
        const int32_t above = (upper.channels[c] * weights.before) >> 16, below = (lower.channels[c] * weights.after) >> 16;
        *pixels |= uint32_t((above + below + 2) >> 2) << (8 * c);
    }
}

#endif

// blend_across: the pixels of one row at `offset` (bytes), each with its right neighbour, by (group,) `weights`.
// blend_down: (group,) pixels as R | G << 8 | B << 16.

}  // namespace boxmill::BOXMILL_ISA
