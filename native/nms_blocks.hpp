// Survivors in blocks of sixteen, structure of arrays, and the exact test of a candidate against them.
#pragma once
#include <cstring>

#include "api.hpp"
#include "arena.hpp"
#include "reals.hpp"

namespace boxmill::BOXMILL_ISA::nms_detail {

constexpr int64_t lanes = 16;

// The unused lanes of a block are zero: a box without area at the origin, which intersects nothing.
struct alignas(64) Block {
    float x1[lanes], y1[lanes], x2[lanes], y2[lanes], area[lanes];
};

// A list of survivors: a run of blocks with room for all that may come.
struct Segment {
    int64_t first;  // block
    int64_t count;  // boxes
};

static int64_t padded(int64_t n) { return (n + lanes - 1) / lanes * lanes; }

static float area_of(const float* box) { return (box[2] - box[0]) * (box[3] - box[1]); }

static float larger(float a, float b) { return a > b ? a : b; }
static float smaller(float a, float b) { return a < b ? a : b; }

// A width that is not a number (infinity - infinity) counts as 0 here: neither 0 nor NaN can suppress.
static bool block_suppresses(const Block& block, const float* box, float area, float threshold) {
    uint32_t found = 0;
    const Reals none{};
    for (int64_t i = 0; i < lanes; i += reals) {
        const Reals width = larger_of(smaller_of(load(block.x2 + i), all(box[2])) - larger_of(load(block.x1 + i), all(box[0])), none);
        const Reals height = larger_of(smaller_of(load(block.y2 + i), all(box[3])) - larger_of(load(block.y1 + i), all(box[1])), none);
        const Reals inter = width * height;
        const Reals iou = inter / ((load(block.area + i) + all(area)) - inter);
        found |= any_above(iou, all(threshold));
    }
    return found != 0;
}

template <class M>
static bool suppressed(const Block* blocks, const Segment& segment, const float* box, float area, float threshold, M& meter) {
    const Block* block = blocks + segment.first;
    for (int64_t done = 0; done < segment.count; done += lanes, ++block) {
        meter.tests(segment.count - done < lanes ? segment.count - done : lanes);
        if (block_suppresses(*block, box, area, threshold)) return true;
    }
    return false;
}

static void append(Block* blocks, Segment& segment, const float* box, float area) {
    Block& block = blocks[segment.first + segment.count / lanes];
    const int64_t lane = segment.count++ % lanes;
    if (lane == 0) std::memset(&block, 0, sizeof block);
    block.x1[lane] = box[0];
    block.y1[lane] = box[1];
    block.x2[lane] = box[2];
    block.y2[lane] = box[3];
    block.area[lane] = area;
}

// Turns the most boxes that each segment may get into empty segments, and returns the blocks for all of them.
static Block* room_for(Segment* segments, int64_t count, Arena& arena) {
    int64_t blocks = 0;
    for (int64_t i = 0; i < count; ++i) {
        segments[i].first = blocks;
        blocks += (segments[i].count + lanes - 1) / lanes;
        segments[i].count = 0;
    }
    return arena.take<Block>(blocks);
}

static Segment* no_segments(int64_t count, Arena& arena) {
    Segment* segments = arena.take<Segment>(count);
    std::memset(segments, 0, sizeof(Segment) * static_cast<size_t>(count));
    return segments;
}

}  // namespace boxmill::BOXMILL_ISA::nms_detail
