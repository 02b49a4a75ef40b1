// Letterbox and resampling.
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>

#include <array>

#include "shared.hpp"

namespace boxmill::python {

namespace {

using RgbImage = nb::ndarray<const uint8_t, nb::shape<-1, -1, 3>, nb::device::cpu>;
using NetworkImage = nb::ndarray<float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;

using Place = std::array<int64_t, 4>;   // left, top, resized width, resized height
using Values = std::array<float, 8>;  // scale, mean x 3, std x 3, pad
constexpr int64_t most_resized = int64_t{1} << 48;

// Along one axis the resized image lies inside the target, or covers it and is cropped.
bool fits(int64_t start, int64_t resized, int64_t side) {
    if (resized < 1 || resized > most_resized || start < -most_resized || start > most_resized || side > INT32_MAX / 4) return false;
    return (start >= 0 && start + resized <= side) || (start <= 0 && start + resized >= side);
}

LetterboxRequest letterbox_request(const RgbImage& source, const NetworkImage& target, const Place& place,
                                   const Values& values, bool channels_last, bool bgr) {
    const size_t height = target.shape(channels_last ? 0 : 1), width = target.shape(channels_last ? 1 : 2);
    if (target.shape(channels_last ? 2 : 0) != 3)
        throw nb::value_error("target must have 3 channels: (3, h, w), or (h, w, 3) with channels_last");
    if (source.stride(2) != 1 || source.stride(1) != 3)
        throw nb::value_error("source pixels must be packed: strides (any, 3, 1); copy the image first");
    const auto [left, top, resized_width, resized_height] = place;
    if (source.shape(0) == 0 || source.shape(1) == 0 || source.shape(0) > INT32_MAX / 4 || source.shape(1) > INT32_MAX / 4)
        throw nb::value_error("source must have between 1 and 2^29 rows and columns");
    if (height == 0 || width == 0 || !fits(left, resized_width, int64_t(width)) || !fits(top, resized_height, int64_t(height)))
        throw nb::value_error("place (left, top, width, height) must be a non-empty rectangle inside the target, or cover it");
    return {source.data(), int32_t(source.shape(0)), int32_t(source.shape(1)), source.stride(0),
            target.data(), int32_t(height), int32_t(width), left, top, resized_height, resized_width,
            channels_last, bgr, values[0], {values[1], values[2], values[3]},
            {values[4], values[5], values[6]}, values[7]};
}

void letterbox(const RgbImage& source, const NetworkImage& target, const Place& place, const Values& values,
               bool channels_last, bool bgr) {
    const LetterboxRequest request = letterbox_request(source, target, place, values, channels_last, bgr);
    nb::gil_scoped_release unlocked;
    Arena& arena = thread_arena();
    arena.reset();
    chosen->letterbox(request, arena);
}

void resample(const RgbImage& source, const NetworkImage& target, const Place& place, const Values& values,
              bool channels_last, bool bgr, bool bicubic) {
    const ResampleRequest request{letterbox_request(source, target, place, values, channels_last, bgr), bicubic};
    nb::gil_scoped_release unlocked;
    Arena& arena = thread_arena();
    arena.reset();
    chosen->resample(request, arena);
}

}  // namespace

void bind_images(nb::module_& module) {
    module.def("letterbox", &letterbox, nb::arg("source").noconvert(), nb::arg("target").noconvert(), nb::arg("place"),
               nb::arg("values"), nb::arg("channels_last"), nb::arg("bgr"),
               "Resizes, normalises and pads (H, W, 3) uint8 RGB into a float32 network input, in place.");
    module.def("resample", &resample, nb::arg("source").noconvert(), nb::arg("target").noconvert(), nb::arg("place"),
               nb::arg("values"), nb::arg("channels_last"), nb::arg("bgr"), nb::arg("bicubic"),
               "The same with a filter that widens as the image shrinks.");
}

}  // namespace boxmill::python
