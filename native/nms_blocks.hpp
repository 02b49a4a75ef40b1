// Survivors in blocks of sixteen, structure of arrays, and the exact test of a candidate against them.
#pragma once
#include <cstring>

#include "api.hpp"
#include "arena.hpp"

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
    int32_t found = 0;
    for (int64_t i = 0; i < lanes; ++i) {
        const float width = larger(smaller(block.x2[i], box[2]) - larger(block.x1[i], box[0]), 0.0f);
        const float height = larger(smaller(block.y2[i], box[3]) - larger(block.y1[i], box[1]), 0.0f);
        const float inter = width * height;
        const float iou = inter / ((block.area[i] + area) - inter);
        found |= iou > threshold;
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
