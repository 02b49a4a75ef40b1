// What NMS is instantiated with: nothing, or a stop watch and a counter for the cost report. A copy that measures costs the
// one that everybody calls not one instruction.
#pragma once
#include <ctime>

#include "api.hpp"

namespace boxmill::BOXMILL_ISA::nms_detail {

struct Unmetered {
    void tests(int64_t) {}
    void end(CostStep) {}
};

class Meter {
public:
    explicit Meter(NmsCost& cost) : cost_(cost), last_(now()) {}
    void tests(int64_t count) { cost_.tests += count; }
    // The time since the last end belongs to this step.
    void end(CostStep step) {
        const double time = now();
        cost_.seconds[static_cast<int>(step)] += time - last_;
        last_ = time;
    }

private:
    static double now() {
        timespec time;
        clock_gettime(CLOCK_MONOTONIC, &time);  // std::chrono would leave templates that another instruction set shares
        return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
    }
    NmsCost& cost_;
    double last_;
};

}  // namespace boxmill::BOXMILL_ISA::nms_detail
