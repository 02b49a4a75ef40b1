// The module: which kernels run, and what Python can call. Nothing outside this folder knows Python.
#include <cstdlib>
#include <string>

#include "shared.hpp"

namespace boxmill::python {

const Table* chosen = nullptr;

namespace {

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

nb::list table_list() {
    nb::list names;
    for (const char* const* name = table_names(); *name != nullptr; ++name) names.append(*name);
    return names;
}

}  // namespace

NB_MODULE(_native, module) {
    chosen = choose();
    module.def("isa", [] { return chosen->name; }, "The instruction set in use.");
    module.def("isas", &table_list, "The instruction sets that this build and this processor can run, best first.");
    bind_images(module);
    bind_nms(module);
    bind_heads(module);
}

}  // namespace boxmill::python
