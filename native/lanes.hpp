// The widest integer registers of this instruction set, under one name each.
#pragma once
#include <cstdint>
#if defined(__SSSE3__)
#include <immintrin.h>
#endif

namespace boxmill::BOXMILL_ISA {

#if defined(__SSSE3__)

// One source for the three register widths: the steps are the same in each 16 bytes of a register. Masked forms with every
// lane kept: GCC 12 warns falsely of the plain ones (its bug 105593).
#if defined(__AVX512BW__)
#define BOXMILL_MM(operation) _mm512_##operation
typedef __m512i Lanes;
static inline Lanes in_each_16_bytes(__m128i bytes) { return _mm512_maskz_broadcast_i32x4(0xffff, bytes); }
static inline Lanes joined(const __m128i (&parts)[4]) {
    const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(parts[0]), parts[1], 1);
    const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(parts[2]), parts[3], 1);
    return _mm512_maskz_inserti64x4(0xff, _mm512_castsi256_si512(low), high, 1);
}
#elif defined(__AVX2__)
#define BOXMILL_MM(operation) _mm256_##operation
typedef __m256i Lanes;
static inline Lanes in_each_16_bytes(__m128i bytes) { return _mm256_broadcastsi128_si256(bytes); }
static inline Lanes joined(const __m128i (&parts)[2]) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(parts[0]), parts[1], 1);
}
#else
#define BOXMILL_MM(operation) _mm_##operation
typedef __m128i Lanes;
static inline Lanes in_each_16_bytes(__m128i bytes) { return bytes; }
static inline Lanes joined(const __m128i (&parts)[1]) { return parts[0]; }
#endif

static constexpr int lane_bytes = sizeof(Lanes);

#else

static constexpr int lane_bytes = 16;

#endif

static constexpr int parts = lane_bytes / 16;
typedef uint32_t Words __attribute__((vector_size(lane_bytes)));
typedef int32_t Integers __attribute__((vector_size(lane_bytes)));
typedef uint16_t Halves __attribute__((vector_size(lane_bytes)));
static constexpr int words = lane_bytes / 4;  // in a register

}  // namespace boxmill::BOXMILL_ISA
