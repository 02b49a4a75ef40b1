// The few steps of the letterbox that compilers do not vectorise well by themselves, once for each register width.
// A Lanes holds `group` pixels, eight int16 each: a pixel's R G B, its right neighbour's R G B and two lanes to ignore.
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#else
#include <arm_neon.h>
#endif

namespace boxmill::BOXMILL_ISA {

static constexpr int fraction_bits = 7;  // of a sample: 255 << 7 is the most that an int16 holds
static constexpr int pair_bytes = 8;     // read at each pixel

#if defined(__AVX512BW__)

static constexpr int group = 4;
typedef int16_t Lanes __attribute__((vector_size(64)));

static inline Lanes widened(const uint64_t (&pairs)[group]) {
    const __m256i bytes = _mm256_set_epi64x(pairs[3], pairs[2], pairs[1], pairs[0]);
    return (Lanes)_mm512_slli_epi16(_mm512_cvtepu8_epi16(bytes), fraction_bits);
}
static inline Lanes scaled(Lanes a, Lanes b) { return (Lanes)_mm512_mulhrs_epi16((__m512i)a, (__m512i)b); }
static inline Lanes right_neighbours(Lanes pairs) { return (Lanes)_mm512_bsrli_epi128((__m512i)pairs, 6); }
static inline void store_pixels(Lanes pairs, int16_t* row) {
    // The masked form with all lanes kept, and memcpy: GCC 12 warns falsely of the plain intrinsics (its bug 105593).
    const __m512i evens = _mm512_maskz_permutexvar_epi64(0xff, _mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0), (__m512i)pairs);
    std::memcpy(row, &evens, 32);
}

#elif defined(__AVX2__)

static constexpr int group = 2;
typedef int16_t Lanes __attribute__((vector_size(32)));

static inline Lanes widened(const uint64_t (&pairs)[group]) {
    return (Lanes)_mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_set_epi64x(pairs[1], pairs[0])), fraction_bits);
}
static inline Lanes scaled(Lanes a, Lanes b) { return (Lanes)_mm256_mulhrs_epi16((__m256i)a, (__m256i)b); }
static inline Lanes right_neighbours(Lanes pairs) { return (Lanes)_mm256_srli_si256((__m256i)pairs, 6); }
static inline void store_pixels(Lanes pairs, int16_t* row) {
    const __m256i evens = _mm256_permute4x64_epi64((__m256i)pairs, 0x08);  // 64-bit halves 0 and 2 come first
    _mm_storeu_si128(reinterpret_cast<__m128i*>(row), _mm256_castsi256_si128(evens));
}

#elif defined(__x86_64__)

static constexpr int group = 1;
typedef int16_t Lanes __attribute__((vector_size(16)));

static inline Lanes widened(const uint64_t (&pairs)[group]) {
    return (Lanes)_mm_slli_epi16(_mm_cvtepu8_epi16(_mm_cvtsi64_si128(pairs[0])), fraction_bits);
}
static inline Lanes scaled(Lanes a, Lanes b) { return (Lanes)_mm_mulhrs_epi16((__m128i)a, (__m128i)b); }
static inline Lanes right_neighbours(Lanes pairs) { return (Lanes)_mm_srli_si128((__m128i)pairs, 6); }
static inline void store_pixels(Lanes pairs, int16_t* row) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(row), (__m128i)pairs);
}

#else

static constexpr int group = 1;
typedef int16_t Lanes __attribute__((vector_size(16)));

static inline Lanes widened(const uint64_t (&pairs)[group]) {
    return (Lanes)vshll_n_u8(vcreate_u8(pairs[0]), fraction_bits);
}
static inline Lanes scaled(Lanes a, Lanes b) { return (Lanes)vqrdmulhq_s16((int16x8_t)a, (int16x8_t)b); }
static inline Lanes right_neighbours(Lanes pairs) { return (Lanes)vextq_s16((int16x8_t)pairs, (int16x8_t)pairs, 3); }
static inline void store_pixels(Lanes pairs, int16_t* row) { vst1_s16(row, vget_low_s16((int16x8_t)pairs)); }

#endif

// widened: bytes to samples, in 1/128 of a grey level. scaled: rounded a * b / 32768 (never met with both at -32768, where
// NEON saturates). right_neighbours: lane i takes lane i + 3. store_pixels: the first four lanes of each pixel.

static inline Lanes load_pairs(const uint8_t* row, const int32_t* offset) {
    uint64_t pairs[group];
    for (int i = 0; i < group; ++i) std::memcpy(&pairs[i], row + offset[i], pair_bytes);
    return widened(pairs);
}

}  // namespace boxmill::BOXMILL_ISA
