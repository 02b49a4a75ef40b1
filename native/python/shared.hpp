// What the bindings share: the kernels in use, and arguments read from Python.
#pragma once
#include <nanobind/nanobind.h>

#include <cstdint>
#include <cstring>

#include "../api.hpp"
#include "../arena.hpp"

namespace boxmill::python {

namespace nb = nanobind;

extern const Table* chosen;  // since the import
constexpr int64_t most_rows = INT32_MAX - 64;  // anchors or classes

void bind_images(nb::module_& module);
void bind_nms(nb::module_& module);
void bind_heads(nb::module_& module);

// An aligned view of any object with the buffer protocol; numpy arrays foremost. C-contiguous, unless strides are asked for.
// Much cheaper than a DLPack exchange, which matters for a call of a few microseconds.
class View {
public:
    explicit View(nb::handle source, int form = PyBUF_C_CONTIGUOUS) : none_(source.is_none()) {
        held_ = !none_ && PyObject_GetBuffer(source.ptr(), &buffer_, form | PyBUF_FORMAT) == 0;
        if (!held_ && !none_) PyErr_Clear();
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
    bool is_none() const { return none_; }
    Py_ssize_t length(int dimension) const { return buffer_.shape[dimension]; }
    Py_ssize_t step(int dimension) const { return buffer_.strides[dimension]; }  // bytes
    const void* data() const { return buffer_.buf; }

private:
    Py_buffer buffer_{};
    bool none_, held_ = false;
};

// False where the object is not a number from 0 to `most`.
inline bool read_number(nb::handle source, double most, double& value) {
    value = PyFloat_AsDouble(source.ptr());
    if (PyErr_Occurred() == nullptr) return value >= 0 && value <= most;
    PyErr_Clear();
    return false;
}

inline bool read_count(nb::handle source, int64_t& value) {
    int overflow = 0;
    value = PyLong_AsLongLongAndOverflow(source.ptr(), &overflow);
    if (overflow > 0) value = INT64_MAX;
    if (PyErr_Occurred() == nullptr) return overflow >= 0 && value >= 0;
    PyErr_Clear();
    return false;
}

}  // namespace boxmill::python
