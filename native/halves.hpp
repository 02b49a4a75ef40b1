// float16 as it lies in memory, and its exact float32. Instructions and integer arithmetic give the same values; only which
// NaN a NaN becomes is left open.
#pragma once
#include <cstring>
#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "api.hpp"

namespace boxmill::BOXMILL_ISA {

typedef uint16_t Half;

#if defined(__F16C__)

static inline float value_of(Half half) { return _cvtsh_ss(half); }

#else

// A denormal is its mantissa in units of 2^-24: no float32 denormal occurs on the way, which a caller may have switched off.
static inline float value_of(Half half) {
    const uint32_t magnitude = half & 0x7FFFu, exponent = half & 0x7C00u;
    const float small = static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f;
    uint32_t bits;
    std::memcpy(&bits, &small, sizeof bits);
    const uint32_t large = (magnitude << 13) + (exponent == 0x7C00u ? 224u << 23 : 112u << 23);
    bits = (exponent == 0 ? bits : large) | static_cast<uint32_t>(half & 0x8000u) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

#endif

static inline float value_of(float value) { return value; }

static void widen(const Half* __restrict from, int64_t count, float* __restrict to) {
    int64_t i = 0;
#if defined(__AVX512F__)  // as wide as what reads them: two stores are not forwarded to one load
    for (; i + 16 <= count; i += 16) {
        __m256i sixteen;
        std::memcpy(&sixteen, from + i, sizeof sixteen);
        _mm512_storeu_ps(to + i, _mm512_cvtph_ps(sixteen));
    }
#endif
#if defined(__F16C__)
    for (; i + 8 <= count; i += 8) {
        __m128i eight;
        std::memcpy(&eight, from + i, sizeof eight);
        const __m256 wide = _mm256_cvtph_ps(eight);
        std::memcpy(to + i, &wide, sizeof wide);
    }
#endif
    for (; i < count; ++i) to[i] = value_of(from[i]);
}

// The numbers as float32: where they lie, or widened into `room`.
static inline const float* as_floats(const float* from, int64_t, float*) { return from; }
static inline const float* as_floats(const Half* from, int64_t count, float* room) {
    widen(from, count, room);
    return room;
}

}  // namespace boxmill::BOXMILL_ISA
