// Class ids of any range as small numbers.
#pragma once
#include <cstring>

#include "api.hpp"
#include "arena.hpp"

namespace boxmill::BOXMILL_ISA::nms_detail {

// Which class a row belongs to, as a small number.
struct Slots {
    const int32_t* of_row;  // null: all rows are of class 0
    int64_t count;
};

static uint64_t scrambled(int64_t value) {
    uint64_t x = static_cast<uint64_t>(value) * 0x9E3779B97F4A7C15u;
    x ^= x >> 32;
    return x * 0xD6E8FEB86659FD93u >> 16;
}

// Class ids that lie far apart: open addressing, numbered in the order in which they appear.
template <class Id>
static Slots hashed_slots(const Id* classes, int64_t n, Arena& arena) {
    int64_t size = 64;
    while (size < 2 * n) size *= 2;
    int32_t* table = arena.take<int32_t>(size);
    std::memset(table, -1, sizeof(int32_t) * static_cast<size_t>(size));
    Id* ids = arena.take<Id>(n);
    int32_t* slots = arena.take<int32_t>(n);
    int32_t count = 0;
    for (int64_t i = 0; i < n; ++i) {
        int64_t at = static_cast<int64_t>(scrambled(classes[i])) & (size - 1);
        while (table[at] >= 0 && ids[table[at]] != classes[i]) at = (at + 1) & (size - 1);
        if (table[at] < 0) {
            ids[count] = classes[i];
            table[at] = count++;
        }
        slots[i] = table[at];
    }
    return {slots, count};
}

template <class Id>
static Slots class_slots(const Id* classes, int64_t n, Arena& arena) {
    Id low = classes[0], high = classes[0];
    for (int64_t i = 1; i < n; ++i) {
        low = classes[i] < low ? classes[i] : low;
        high = classes[i] > high ? classes[i] : high;
    }
    const uint64_t range = static_cast<uint64_t>(high) - static_cast<uint64_t>(low);
    if (range >= static_cast<uint64_t>(n < 256 ? 1024 : 4 * n)) return hashed_slots(classes, n, arena);
    int32_t* slots = arena.take<int32_t>(n);
    for (int64_t i = 0; i < n; ++i)
        slots[i] = static_cast<int32_t>(static_cast<uint64_t>(classes[i]) - static_cast<uint64_t>(low));
    return {slots, static_cast<int64_t>(range) + 1};
}

static Slots slots_of(const NmsRequest& request, Arena& arena) {
    if (request.classes == nullptr || request.n == 0) return {nullptr, 1};
    if (request.wide_classes) return class_slots(static_cast<const int64_t*>(request.classes), request.n, arena);
    return class_slots(static_cast<const int32_t*>(request.classes), request.n, arena);
}

static int64_t slot_of(const Slots& slots, int64_t row) { return slots.of_row == nullptr ? 0 : slots.of_row[row]; }

}  // namespace boxmill::BOXMILL_ISA::nms_detail
