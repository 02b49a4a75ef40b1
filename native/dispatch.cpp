// Which instruction sets this build has, which this processor can run, and which table is used.
#include <cstring>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "api.hpp"

namespace boxmill {

#define BOXMILL_DECLARE(isa) \
    namespace isa {          \
    extern const Table table; \
    }
#if defined(__x86_64__)
BOXMILL_DECLARE(v2)
BOXMILL_DECLARE(v3)
BOXMILL_DECLARE(v4)
#else
BOXMILL_DECLARE(plain)
#endif
#undef BOXMILL_DECLARE

namespace {

struct Choice {
    const Table* table;
    bool (*runs_here)();
};

#if defined(__x86_64__)
bool has_f16c() {  // __builtin_cpu_supports does not know it in Clang 14
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
bool runs_v3() {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
           __builtin_cpu_supports("fma") && has_f16c();
}
bool runs_v4() {
    return runs_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
bool runs_v2() { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt"); }
const Choice choices[] = {{&v4::table, runs_v4}, {&v3::table, runs_v3}, {&v2::table, runs_v2}};  // best first
#else
bool always() { return true; }
const Choice choices[] = {{&plain::table, always}};
#endif

constexpr size_t choice_count = sizeof(choices) / sizeof(choices[0]);

}  // namespace

const char* const* table_names() {
    static const char* names[choice_count + 1] = {};
    size_t found = 0;
    for (const Choice& choice : choices)
        if (choice.runs_here()) names[found++] = choice.table->name;
    return names;
}

const Table* find_table(const char* name) {
    for (const Choice& choice : choices)
        if (std::strcmp(choice.table->name, name) == 0) return choice.runs_here() ? choice.table : nullptr;
    return nullptr;
}

const Table* best_table() {
    for (const Choice& choice : choices)
        if (choice.runs_here()) return choice.table;
    return nullptr;
}

}  // namespace boxmill
