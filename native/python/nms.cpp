// NMS of boxes, scores and classes.
#include <cfloat>

#include "shared.hpp"

namespace boxmill::python {

namespace {

// Native int64s.
nb::object indices(const int32_t* rows, int64_t count) {
    PyObject* bytes = PyByteArray_FromStringAndSize(nullptr, count * static_cast<Py_ssize_t>(sizeof(int64_t)));
    if (bytes == nullptr) throw nb::python_error();
    char* out = PyByteArray_AS_STRING(bytes);
    for (int64_t i = 0; i < count; ++i) {
        const int64_t index = rows[i];
        std::memcpy(out + i * sizeof index, &index, sizeof index);
    }
    return nb::steal(bytes);
}

nb::object nms_answer(const NmsRequest& request) {
    Arena& arena = thread_arena();
    NmsReply reply;
    {
        nb::gil_scoped_release unlocked;
        arena.reset();
        reply = chosen->nms(request, arena);
    }
    nb::object cut = reply.truncated ? nb::object(nb::float_(reply.cut)) : nb::none();
    return nb::make_tuple(indices(reply.kept, reply.count), reply.nan, cut);
}

// Boxes, scores and classes of the plain form (see _native.pyi).
struct Rows {
    View boxes, scores, classes;

    Rows(nb::handle boxes_, nb::handle scores_, nb::handle classes_) : boxes(boxes_), scores(scores_), classes(classes_) {}

    bool read(NmsRequest& request) const {
        if (!boxes.is("f", 4, 2) || !scores.is("f", 4, 1)) return false;
        request.boxes = static_cast<const float*>(boxes.data());
        request.scores = static_cast<const float*>(scores.data());
        request.n = scores.length(0);
        if (boxes.length(0) != request.n || boxes.length(1) != 4 || request.n > most_rows) return false;
        if (classes.is_none()) return true;
        request.wide_classes = classes.is("lq", sizeof(int64_t), 1);
        request.classes = classes.data();
        return (request.wide_classes || classes.is("il", sizeof(int32_t), 1)) && classes.length(0) == request.n;
    }
};

bool read_limits(NmsLimits& limits, nb::handle iou, nb::handle max_nms, nb::handle max_det) {
    double threshold;
    if (!read_number(iou, 1, threshold) || !read_count(max_nms, limits.max_nms) || !read_count(max_det, limits.max_det))
        return false;
    limits.iou = static_cast<float>(threshold);
    return true;
}

// None where the arguments are not of the plain form: the Python side then converts them or says what is wrong.
nb::object nms_call(nb::handle boxes, nb::handle scores, nb::handle classes, nb::handle iou, nb::handle max_nms,
                    nb::handle max_det, bool want_cut) {
    const Rows rows(boxes, scores, classes);
    NmsRequest request{};
    if (!rows.read(request) || !read_limits(request.limits, iou, max_nms, max_det)) return nb::none();
    request.limits.want_cut = want_cut;
    return nms_answer(request);
}

// As nms_call, with limits and without a cut: kept indices, NaN rows, candidates considered, IoU tests, seconds by step.
nb::object nms_cost_call(nb::handle boxes, nb::handle scores, nb::handle classes, nb::handle iou, nb::handle max_nms,
                         nb::handle max_det) {
    const Rows rows(boxes, scores, classes);
    NmsRequest request{};
    if (!rows.read(request) || !read_limits(request.limits, iou, max_nms, max_det)) return nb::none();
    Arena& arena = thread_arena();
    NmsReply reply;
    NmsCost cost{};
    {
        nb::gil_scoped_release unlocked;
        arena.reset();
        reply = chosen->nms_cost(request, arena, cost);
    }
    const nb::tuple seconds = nb::make_tuple(cost.seconds[0], cost.seconds[1], cost.seconds[2], cost.seconds[3]);
    return nb::make_tuple(indices(reply.kept, reply.count), reply.nan, cost.considered, cost.tests, seconds);
}

nb::object soft_nms_call(nb::handle boxes, nb::handle scores, nb::handle classes, bool gaussian, nb::handle iou,
                         nb::handle sigma, nb::handle conf, nb::handle max_det) {
    const Rows rows(boxes, scores, classes);
    SoftRequest request{};
    double threshold, least;
    if (!rows.read(request.boxes) || !read_number(iou, 1, threshold) || !read_number(sigma, DBL_MAX, request.sigma) ||
        request.sigma == 0 || !read_number(conf, DBL_MAX, least) || !read_count(max_det, request.boxes.limits.max_det))
        return nb::none();
    request.gaussian = gaussian;
    request.boxes.limits.iou = static_cast<float>(threshold);
    request.boxes.limits.max_nms = request.boxes.n;
    request.conf = static_cast<float>(least) + 0.0f;  // -0 becomes 0
    Arena& arena = thread_arena();
    SoftReply reply;
    {
        nb::gil_scoped_release unlocked;
        arena.reset();
        reply = chosen->soft_nms(request, arena);
    }
    const nb::object decayed = nb::steal(PyByteArray_FromStringAndSize(reinterpret_cast<const char*>(reply.scores),
                                                                       reply.count * static_cast<Py_ssize_t>(sizeof(float))));
    if (!decayed.is_valid()) throw nb::python_error();
    return nb::make_tuple(indices(reply.kept, reply.count), decayed);
}

}  // namespace

void bind_nms(nb::module_& module) {
    module.def("nms", &nms_call, nb::arg("boxes"), nb::arg("scores"), nb::arg("classes").none(), nb::arg("iou").none(),
               nb::arg("max_nms"), nb::arg("max_det"), nb::arg("want_cut"));
    module.def("nms_cost", &nms_cost_call, nb::arg("boxes"), nb::arg("scores"), nb::arg("classes").none(), nb::arg("iou").none(),
               nb::arg("max_nms"), nb::arg("max_det"));
    module.def("soft_nms", &soft_nms_call, nb::arg("boxes"), nb::arg("scores"), nb::arg("classes").none(), nb::arg("gaussian"),
               nb::arg("iou").none(), nb::arg("sigma").none(), nb::arg("conf").none(), nb::arg("max_det"));
}

}  // namespace boxmill::python
