// Raw heads to objects.
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>

#include <deque>
#include <string>
#include <vector>

#include "shared.hpp"

namespace boxmill::python {

namespace {

// One image's result as Python takes it: (boxes, scores, classes, anchors behind one another, count, cut, nan, cost).
struct Found {
    std::string bytes;
    int64_t count, nan;
    bool truncated;
    float cut;
    NmsCost cost;
};

Found copied(const HeadReply& reply) {
    const size_t n = static_cast<size_t>(reply.count);
    Found found{{}, reply.count, reply.nan, reply.truncated, reply.cut, {}};
    found.bytes.reserve(7 * sizeof(float) * n);
    found.bytes.append(reinterpret_cast<const char*>(reply.boxes), 4 * sizeof(float) * n);
    found.bytes.append(reinterpret_cast<const char*>(reply.scores), sizeof(float) * n);
    found.bytes.append(reinterpret_cast<const char*>(reply.classes), sizeof(int32_t) * n);
    found.bytes.append(reinterpret_cast<const char*>(reply.indices), sizeof(int32_t) * n);
    return found;
}

nb::object cost_answer(const NmsCost& cost) {
    const double* s = cost.seconds;
    return nb::make_tuple(cost.considered, cost.tests, nb::make_tuple(s[0], s[1], s[2], s[3], s[4]));
}

struct Limits {
    double conf, iou;
    int64_t max_det, max_nms;
};

// Which suppression, and the Gaussian's sigma.
using Method = std::pair<int, double>;

void set_limits(HeadRequest& request, const Limits& limits, const Method& method, bool agnostic, bool multi_label) {
    request.suppression = static_cast<Suppression>(method.first);
    request.sigma = method.second;
    request.conf = static_cast<float>(limits.conf) + 0.0f;  // -0 becomes 0
    request.agnostic = agnostic;
    request.multi_label = multi_label;
    request.limits = {static_cast<float>(limits.iou), limits.max_nms, limits.max_det, true};
}

// Raw heads of a batch: (images, rows, columns) float32 or float16, rows contiguous, rows and images any steps apart.
struct Heads {
    View view;
    bool half = false;

    explicit Heads(nb::handle raw) : view(raw, PyBUF_STRIDES) {}

    bool read() {
        half = view.is("e", 2, 3);
        if (!half && !view.is("f", 4, 3)) return false;
        const Py_ssize_t item = half ? 2 : 4;
        return (view.length(2) <= 1 || view.step(2) == item) && view.step(1) % item == 0 && view.step(0) % item == 0;
    }
    int64_t row_step() const { return view.step(1) / (half ? 2 : 4); }
    const void* image(Py_ssize_t i) const { return static_cast<const char*>(view.data()) + i * view.step(0); }
};

// False where one is not of the plain form.
bool set_buffers(HeadRequest& request, const View& wanted, const View& geometry, Py_ssize_t images) {
    if (!wanted.is_none() && !(wanted.is("B", 1, 1) && wanted.length(0) == request.classes)) return false;
    request.wanted = wanted.is_none() ? nullptr : static_cast<const uint8_t*>(wanted.data());
    if (!geometry.is_none() && !(geometry.is("f", 4, 2) && geometry.length(0) == images && geometry.length(1) == 6)) return false;
    request.geometry = geometry.is_none() ? nullptr : static_cast<const float*>(geometry.data());
    return true;
}

// Runs the images one after another without the GIL; `select(i)` sets the request's raw pointers to image i.
template <class Select>
nb::list answers(HeadRequest& request, Py_ssize_t images, bool with_cost, Select select) {
    std::vector<Found> found;
    {
        nb::gil_scoped_release unlocked;
        found.reserve(static_cast<size_t>(images));
        for (Py_ssize_t i = 0; i < images; ++i) {
            Arena& arena = thread_arena();
            arena.reset();
            select(i);
            NmsCost cost{};
            found.push_back(copied(with_cost ? chosen->head_cost(request, arena, cost) : chosen->head(request, arena)));
            found.back().cost = cost;
            if (request.geometry != nullptr) request.geometry += 6;
        }
    }
    nb::list answer;
    for (const Found& one : found) {
        PyObject* bytes = PyByteArray_FromStringAndSize(one.bytes.data(), static_cast<Py_ssize_t>(one.bytes.size()));
        if (bytes == nullptr) throw nb::python_error();
        nb::object cut = one.truncated ? nb::object(nb::float_(one.cut)) : nb::none();
        nb::object cost = with_cost ? cost_answer(one.cost) : nb::none();
        answer.append(nb::make_tuple(nb::steal(bytes), one.count, cut, one.nan, cost));
    }
    return answer;
}

std::vector<int32_t> integers(const nb::tuple& values) {
    std::vector<int32_t> all;
    for (nb::handle value : values) all.push_back(nb::cast<int32_t>(value));
    return all;
}

// None where `raw`, `wanted` or `geometry` is not of the plain form (see _native.pyi); other arguments are checked by the caller.
nb::object postprocess_call(nb::handle raw, int head, bool normalized, bool sigmoid, nb::tuple strides,
                            std::pair<int32_t, int32_t> network, double conf, double iou, int64_t max_det, int64_t max_nms,
                            Method method, nb::handle wanted, bool agnostic, bool multi_label, nb::handle geometry,
                            bool with_cost) {
    Heads heads(raw);
    const View chosen_classes(wanted), places(geometry);
    if (!heads.read()) return nb::none();
    const Py_ssize_t images = heads.view.length(0), rows = heads.view.length(1), columns = heads.view.length(2);
    const bool by_class = static_cast<Head>(head) == Head::yolo;
    HeadRequest request{};
    request.half = heads.half;
    request.row_step = heads.row_step();
    request.anchors = by_class ? columns : rows;
    request.classes = by_class ? rows - 4 : columns - 5;
    if (request.classes < 1 || request.anchors > most_rows || request.classes > most_rows) return nb::none();
    if (!set_buffers(request, chosen_classes, places, images)) return nb::none();
    set_limits(request, {conf, iou, max_det, max_nms}, method, agnostic, multi_label);
    const std::vector<int32_t> steps = integers(strides);
    request.head = static_cast<Head>(head);
    request.normalized = normalized;
    request.activation = sigmoid ? Activation::sigmoid : Activation::none;
    request.network_height = network.first;
    request.network_width = network.second;
    request.strides = steps.data();
    request.stride_count = static_cast<int32_t>(steps.size());
    return answers(request, images, with_cost, [&](Py_ssize_t i) { request.raw = heads.image(i); });
}

// One entry of `levels`: (values, first column, boxes, first column); all images.
struct LevelArrays {
    View values, boxes;
    int64_t value_column, box_column;

    explicit LevelArrays(const nb::tuple& entry)
        : values(entry[0]), boxes(entry[2]), value_column(nb::cast<int64_t>(entry[1])), box_column(nb::cast<int64_t>(entry[3])) {}

    bool fits(const char* format, Py_ssize_t item, int64_t value_width, int64_t box_width) const {
        return values.is(format, item, 3) && boxes.is(format, item, 3) && values.length(0) == boxes.length(0) &&
               values.length(1) == boxes.length(1) && value_column >= 0 && box_column >= 0 &&
               value_column + value_width <= values.length(2) && box_column + box_width <= boxes.length(2);
    }
    Level image(Py_ssize_t i, Py_ssize_t item) const {
        const int64_t anchors = values.length(1), value_step = values.length(2), box_step = boxes.length(2);
        return {static_cast<const char*>(values.data()) + item * (i * anchors * value_step + value_column),
                static_cast<const char*>(boxes.data()) + item * (i * anchors * box_step + box_column), value_step, box_step, anchors};
    }
};

// All levels of a batch; keeps the arrays while it lives.
struct LevelBatch {
    std::deque<LevelArrays> arrays;
    std::vector<Level> levels;  // of the selected image
    Py_ssize_t images = 0;
    int64_t anchors = 0;
    bool half = false;  // all arrays are float16; otherwise float32

    // False where an array is not of the plain form or does not fit the request.
    bool read(const nb::list& entries, const HeadRequest& request) {
        const int64_t value_width = request.classes + (request.activation == Activation::softmax);
        const int64_t box_width = request.head == Head::nanodet ? int64_t{4} * request.bins : 4;
        for (nb::handle entry : entries) {
            const LevelArrays& one = arrays.emplace_back(nb::cast<nb::tuple>(entry));
            if (arrays.size() == 1) half = one.values.is("e", 2, 3);
            if (!one.fits(half ? "e" : "f", half ? 2 : 4, value_width, box_width)) return false;
            if (arrays.size() > 1 && one.values.length(0) != images) return false;
            images = one.values.length(0);
            anchors += one.values.length(1);
        }
        levels.resize(arrays.size());
        return !levels.empty() && anchors <= most_rows;
    }
    void select(Py_ssize_t i) {
        for (size_t level = 0; level < levels.size(); ++level) levels[level] = arrays[level].image(i, half ? 2 : 4);
    }
};

// head, classes, normalized, activation, strides, bins, origin
using Form = std::tuple<int, int64_t, bool, int, nb::tuple, int32_t, float>;

void set_form(HeadRequest& request, const Form& form, const std::vector<int32_t>& strides) {
    request.head = static_cast<Head>(std::get<0>(form));
    request.classes = std::get<1>(form);
    request.normalized = std::get<2>(form);
    request.activation = static_cast<Activation>(std::get<3>(form));
    request.strides = strides.data();
    request.stride_count = static_cast<int32_t>(strides.size());
    request.bins = std::get<5>(form);
    request.origin = std::get<6>(form);
}

bool covered_by_strides(const HeadRequest& request, int64_t anchors) {
    for (int32_t i = 0; i < request.stride_count; ++i) {
        const int64_t stride = request.strides[i];
        if (stride < 1) return false;
        anchors -= ((request.network_height + stride - 1) / stride) * ((request.network_width + stride - 1) / stride);
    }
    return anchors == 0;
}

// None where a buffer is not of the plain form (see _native.pyi); other arguments are checked by the caller.
nb::object postprocess_levels_call(nb::list levels, nb::handle labels, const Form& form, std::pair<int32_t, int32_t> network,
                                   std::tuple<double, double, int64_t, int64_t> limits, Method method, nb::handle wanted,
                                   bool agnostic, bool multi_label, nb::handle geometry, bool with_cost) {
    const std::vector<int32_t> strides = integers(std::get<4>(form));
    HeadRequest request{};
    set_form(request, form, strides);
    const auto [conf, iou, max_det, max_nms] = limits;
    set_limits(request, {conf, iou, max_det, max_nms}, method, agnostic, multi_label);
    request.network_height = network.first;
    request.network_width = network.second;
    LevelBatch batch;
    if (request.classes < 1 || request.classes > most_rows || request.bins < 1 || !batch.read(levels, request)) return nb::none();
    if (request.head == Head::nanodet && !covered_by_strides(request, batch.anchors)) return nb::none();
    request.half = batch.half;
    request.levels = batch.levels.data();
    request.level_count = static_cast<int32_t>(batch.levels.size());

    const View ids(labels), chosen_classes(wanted), places(geometry);
    const bool needs_ids = request.head == Head::selected;
    if (needs_ids && !(ids.is("il", sizeof(int32_t), 2) && ids.length(0) == batch.images && ids.length(1) == batch.anchors))
        return nb::none();
    if (!set_buffers(request, chosen_classes, places, batch.images)) return nb::none();
    return answers(request, batch.images, with_cost, [&](Py_ssize_t i) {
        batch.select(i);
        request.labels = needs_ids ? static_cast<const int32_t*>(ids.data()) + i * batch.anchors : nullptr;
    });
}

}  // namespace

void bind_heads(nb::module_& module) {
    module.def("postprocess", &postprocess_call, nb::arg("raw"), nb::arg("head"), nb::arg("normalized"), nb::arg("sigmoid"),
               nb::arg("strides"), nb::arg("network"), nb::arg("conf"), nb::arg("iou"), nb::arg("max_det"), nb::arg("max_nms"),
               nb::arg("method"), nb::arg("wanted").none(), nb::arg("agnostic"), nb::arg("multi_label"), nb::arg("geometry").none(),
               nb::arg("with_cost"));
    module.def("postprocess_levels", &postprocess_levels_call, nb::arg("levels"), nb::arg("labels").none(), nb::arg("form"),
               nb::arg("network"), nb::arg("limits"), nb::arg("method"), nb::arg("wanted").none(), nb::arg("agnostic"),
               nb::arg("multi_label"), nb::arg("geometry").none(), nb::arg("with_cost"));
}

}  // namespace boxmill::python
