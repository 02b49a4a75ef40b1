// What the kernels take and give: plain structures, no Python. Every pointer is owned by the caller.
#pragma once
#include <cstddef>
#include <cstdint>

namespace boxmill {

class Arena;

struct NmsLimits {
    float iou;        // suppress iff IoU > iou; infinity: never
    int64_t max_nms;  // only this many best-scored candidates are considered
    int64_t max_det;  // at most this many survivors
    bool want_cut;    // fill truncated and cut; costs the search for survivor max_det + 1
};

struct NmsRequest {
    const float* boxes;   // (n, 4) x1, y1, x2, y2, contiguous
    const float* scores;  // (n,)
    const void* classes;  // (n,) int32, or int64 where wide_classes; null: one class
    bool wide_classes;
    int64_t n;
    NmsLimits limits;
};

struct NmsReply {
    const int32_t* kept;  // indices into the request, in score order, ties by lower index; lives in the arena
    int64_t count;
    int64_t nan;     // boxes dropped because a score or coordinate was NaN
    bool truncated;  // limits.want_cut only: a limit took something away
    float cut;       // where truncated: the highest score lost, of the (max_nms+1)th candidate or (max_det+1)th survivor
};

enum class CostStep : int32_t { filter, group, sort, suppress, scale };
constexpr int32_t cost_steps = 5;

// What one call of nms or head cost. By step: rows without NaN, of a head also finding and decoding its candidates; classes and
// room for them; order; IoU tests and survivors; of a head: survivors into source pixels.
struct NmsCost {
    double seconds[cost_steps];
    int64_t considered;  // candidates after max_nms
    int64_t tests;       // IoUs of a candidate with a survivor
};

struct SoftRequest {
    NmsRequest boxes;  // max_nms: of undecayed scores
    bool gaussian;     // score *= exp(-iou^2 / sigma); otherwise score *= 1 - iou where iou > limits.iou
    double sigma;
    float conf;  // a box goes when its score, rounded to float32, is not greater any more; 0 or more
};

// `kept` by decayed score; `nan` counts rows of a score above conf; `cut` is the higher one of the undecayed score of candidate
// max_nms + 1 and the decayed one of survivor max_det + 1.
struct SoftReply : NmsReply {
    const float* scores;  // (count,) decayed; arena
};

enum class Head : int32_t { yolo, yolov5, yolox, nanodet, detr, selected };
enum class Activation : int32_t { none, sigmoid, softmax };
enum class Suppression : int32_t { hard, linear, gaussian };  // the latter two: Soft-NMS

// Anchors of nanodet, detr and selected heads, one image's: class values and boxes, each in rows of their own.
struct Level {
    const void* values;  // (anchors, C), (anchors, C + 1) for a softmax, (anchors, 1) for selected: the score
    const void* boxes;   // (anchors, 4): cx, cy, w, h for detr, x1, y1, x2, y2 for selected; (anchors, 4 * bins) for nanodet
    int64_t value_step, box_step;  // numbers from one row to the next
    int64_t anchors;
};

// Instead of a class id: a row that is not looked at, and one whose class is not a number.
constexpr int32_t skipped_row = -1, no_class = -2;

struct HeadRequest {
    bool half;         // raw arrays are float16; otherwise float32
    const void* raw;   // yolo, yolov5, yolox, one image: (4 + C, A) for yolo, else (A, 5 + C); rows contiguous
    int64_t row_step;  // numbers from one row of `raw` to the next
    int64_t anchors;   // of `raw`
    const Level* levels;  // the other heads
    int32_t level_count;
    const int32_t* labels;  // selected: (anchors,) class ids, skipped_row or no_class
    int64_t classes;
    Head head;
    bool normalized;  // boxes are divided by the network's size
    Activation activation;  // softmax: detr alone
    int32_t network_height, network_width;
    const int32_t* strides;  // yolox, nanodet: in the order of the head's levels
    int32_t stride_count;
    int32_t bins;  // nanodet
    float origin;  // nanodet: where in a cell distances begin, in strides
    float conf;    // candidate iff score > conf
    const uint8_t* wanted;  // (C,) nonzero: class is wanted; null: all; unused for selected
    bool agnostic, multi_label;
    NmsLimits limits;
    Suppression suppression;
    double sigma;  // gaussian
    const float* geometry;  // scale x, scale y, pad left, pad top, source width, source height; null: network pixels, unclipped
};

struct HeadReply {
    const float* boxes;      // (count, 4), arena
    const float* scores;     // (count,), arena
    const int32_t* classes;  // (count,), arena
    const int32_t* indices;  // (count,) anchors, arena
    int64_t count;
    int64_t nan;
    bool truncated;
    float cut;
};

struct LetterboxRequest {
    const uint8_t* source;  // (source_height, source_width, 3) RGB; rows source_step bytes apart
    int32_t source_height, source_width;
    int64_t source_step;
    float* target;  // (3, height, width), or (height, width, 3) where channels_last
    int32_t height, width;
    int64_t left, top, resized_height, resized_width;  // where the resized image lies in the target; what lies outside is cut
    bool channels_last;
    bool bgr;  // the network's channel order
    float scale;
    float mean[3], std[3];  // in the network's channel order; value = (pixel * scale - mean) / std
    float pad;              // border grey level, 0-255
};

// Like LetterboxRequest, resized as Pillow resizes: the filter widens as the image shrinks.
struct ResampleRequest {
    LetterboxRequest image;
    bool bicubic;  // otherwise bilinear
};

// One table for each instruction set; dispatch.cpp chooses at import.
struct Table {
    const char* name;
    NmsReply (*nms)(const NmsRequest&, Arena&);
    NmsReply (*nms_cost)(const NmsRequest&, Arena&, NmsCost&);  // the same answer, and what it cost
    SoftReply (*soft_nms)(const SoftRequest&, Arena&);
    HeadReply (*head)(const HeadRequest&, Arena&);
    HeadReply (*head_cost)(const HeadRequest&, Arena&, NmsCost&);
    void (*letterbox)(const LetterboxRequest&, Arena&);
    void (*resample)(const ResampleRequest&, Arena&);
};

const Table* find_table(const char* name);  // null: unknown here, or this processor cannot run it
const Table* best_table();
const char* const* table_names();  // null-terminated: those this processor can run, best first

}  // namespace boxmill
