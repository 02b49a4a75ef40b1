// The only file that knows Python: checks shapes, releases the GIL, calls the table.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <cstdlib>
#include <cstring>

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

// A C-contiguous, aligned view of any object with the buffer protocol; numpy arrays foremost. Much cheaper than a DLPack
// exchange, which matters for a call of a few microseconds.
class View {
public:
    explicit View(nb::handle source) {
        held_ = PyObject_GetBuffer(source.ptr(), &buffer_, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) == 0;
        if (!held_) PyErr_Clear();
    }
    View(const View&) = delete;
    View& operator=(const View&) = delete;
    ~View() {
        if (held_) PyBuffer_Release(&buffer_);
    }
    bool is(const char* formats, Py_ssize_t bytes, int dimensions) const {
        return held_ && buffer_.itemsize == bytes && buffer_.ndim == dimensions && buffer_.format != nullptr &&
               buffer_.format[0] != '\0' && buffer_.format[1] == '\0' && std::strchr(formats, buffer_.format[0]) != nullptr &&
               reinterpret_cast<uintptr_t>(buffer_.buf) % static_cast<size_t>(bytes) == 0;
    }
    Py_ssize_t length(int dimension) const { return buffer_.shape[dimension]; }
    const void* data() const { return buffer_.buf; }

private:
    Py_buffer buffer_{};
    bool held_ = false;
};

// False where the object is not a number.
bool read_threshold(nb::handle source, double& value) {
    value = PyFloat_AsDouble(source.ptr());
    if (PyErr_Occurred() == nullptr) return value >= 0 && value <= 1;
    PyErr_Clear();
    return false;
}

bool read_count(nb::handle source, int64_t& value) {
    int overflow = 0;
    value = PyLong_AsLongLongAndOverflow(source.ptr(), &overflow);
    if (overflow > 0) value = INT64_MAX;
    if (PyErr_Occurred() == nullptr) return overflow >= 0 && value >= 0;
    PyErr_Clear();
    return false;
}

nb::object nms_answer(const NmsRequest& request) {
    Arena& arena = thread_arena();
    NmsReply reply;
    {
        nb::gil_scoped_release unlocked;
        arena.reset();
        reply = chosen->nms(request, arena);
    }
    PyObject* kept = PyByteArray_FromStringAndSize(nullptr, reply.count * static_cast<Py_ssize_t>(sizeof(int64_t)));
    if (kept == nullptr) throw nb::python_error();
    char* out = PyByteArray_AS_STRING(kept);
    for (int64_t i = 0; i < reply.count; ++i) {
        const int64_t index = reply.kept[i];
        std::memcpy(out + i * sizeof index, &index, sizeof index);
    }
    nb::object cut = reply.truncated ? nb::object(nb::float_(reply.cut)) : nb::none();
    return nb::make_tuple(nb::steal(kept), reply.nan, cut);
}

// None where the arguments are not of the plain form (see _native.pyi): the Python side then converts them or says what is
// wrong.
nb::object nms_call(nb::handle boxes, nb::handle scores, nb::handle classes, nb::handle iou, nb::handle max_nms,
                    nb::handle max_det, bool want_cut) {
    const View box(boxes), score(scores);
    if (!box.is("f", 4, 2) || !score.is("f", 4, 1)) return nb::none();
    const Py_ssize_t n = score.length(0);
    double threshold;
    NmsRequest request{static_cast<const float*>(box.data()), static_cast<const float*>(score.data()), nullptr, false, n, {}};
    request.limits.want_cut = want_cut;
    if (box.length(0) != n || box.length(1) != 4 || n > INT32_MAX - 64 || !read_threshold(iou, threshold) ||
        !read_count(max_nms, request.limits.max_nms) || !read_count(max_det, request.limits.max_det))
        return nb::none();
    request.limits.iou = static_cast<float>(threshold);
    if (classes.is_none()) return nms_answer(request);
    const View ids(classes);
    request.wide_classes = ids.is("lq", sizeof(int64_t), 1);
    if ((!request.wide_classes && !ids.is("il", sizeof(int32_t), 1)) || ids.length(0) != n) return nb::none();
    request.classes = ids.data();
    return nms_answer(request);
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
    module.def("nms", &nms_call, nb::arg("boxes"), nb::arg("scores"), nb::arg("classes").none(), nb::arg("iou"),
               nb::arg("max_nms"), nb::arg("max_det"), nb::arg("want_cut"));
}
