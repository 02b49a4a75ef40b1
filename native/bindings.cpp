// The only file that knows Python: checks shapes, releases the GIL, calls the table.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/string.h>

#include <array>
#include <cstdlib>

#include "api.hpp"
#include "arena.hpp"

namespace nb = nanobind;
using namespace boxmill;

namespace {

const Table* chosen = nullptr;

std::string runnable_names() {
    std::string all;
    for (const char* const* name = table_names(); *name != nullptr; ++name) all += (all.empty() ? "" : ", ") + std::string(*name);
    return all;
}

const Table* choose() {
    const char* wanted = std::getenv("BOXMILL_ISA");
    if (wanted == nullptr || *wanted == '\0') {
        if (best_table() == nullptr) throw nb::import_error("boxmill needs a processor with SSE4.2; this one has none");
        return best_table();
    }
    const Table* table = find_table(wanted);
    if (table == nullptr) {
        std::string message = "BOXMILL_ISA=" + std::string(wanted) + " cannot run here; expected one of: " + runnable_names();
        throw nb::import_error(message.c_str());
    }
    return table;
}

using RgbImage = nb::ndarray<const uint8_t, nb::shape<-1, -1, 3>, nb::device::cpu>;
using NetworkImage = nb::ndarray<float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;

// place: left, top, resized width, resized height; values: scale, mean x 3, std x 3, pad.
void letterbox(const RgbImage& source, const NetworkImage& target, const std::array<int32_t, 4>& place,
               const std::array<float, 8>& values, bool channels_last, bool bgr) {
    const size_t height = target.shape(channels_last ? 0 : 1), width = target.shape(channels_last ? 1 : 2);
    if (target.shape(channels_last ? 2 : 0) != 3)
        throw nb::value_error("target must have 3 channels: (3, h, w), or (h, w, 3) with channels_last");
    if (source.stride(2) != 1 || source.stride(1) != 3)
        throw nb::value_error("source pixels must be packed: strides (any, 3, 1); copy the image first");
    const auto [left, top, resized_width, resized_height] = place;
    if (source.shape(0) == 0 || source.shape(1) == 0 || source.shape(0) > INT32_MAX / 4 || source.shape(1) > INT32_MAX / 4)
        throw nb::value_error("source must have between 1 and 2^29 rows and columns");
    if (left < 0 || top < 0 || resized_width < 1 || resized_height < 1 || size_t(left) + size_t(resized_width) > width ||
        size_t(top) + size_t(resized_height) > height || width > INT32_MAX / 4 || height > INT32_MAX / 4)
        throw nb::value_error("place (left, top, width, height) must be a non-empty rectangle inside the target");
    LetterboxRequest request{source.data(), int32_t(source.shape(0)), int32_t(source.shape(1)), source.stride(0),
                             target.data(), int32_t(height), int32_t(width), left, top, resized_height, resized_width,
                             channels_last, bgr, values[0], {values[1], values[2], values[3]},
                             {values[4], values[5], values[6]}, values[7]};
    nb::gil_scoped_release unlocked;
    chosen->letterbox(request, thread_arena());
}

}  // namespace

NB_MODULE(_native, module) {
    chosen = choose();
    module.def("isa", [] { return chosen->name; }, "The instruction set in use.");
    module.def("isas", [] {
        nb::list names;
        for (const char* const* name = table_names(); *name != nullptr; ++name) names.append(*name);
        return names;
    }, "The instruction sets that this build and this processor can run, best first.");
    module.def("letterbox", &letterbox, nb::arg("source").noconvert(), nb::arg("target").noconvert(), nb::arg("place"),
               nb::arg("values"), nb::arg("channels_last"), nb::arg("bgr"),
               "Resizes, normalises and pads (H, W, 3) uint8 RGB into a float32 network input, in place.");
}
