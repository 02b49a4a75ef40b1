// Coverage-guided fuzzing of the kernels behind the bindings: scripts/fuzz builds it with Clang's libFuzzer,
// AddressSanitizer and UBSan. Every input becomes one valid request (what the bindings let through); every instruction
// set must give the same bits, and the answer must be one that the contract allows.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "../api.hpp"
#include "../arena.hpp"

namespace {

using namespace boxmill;

void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "broken: %s\n", what);
    std::abort();
}

// The fuzzer's bytes; zeros once they are used up.
class Bytes {
public:
    Bytes(const uint8_t* data, size_t size) : data_(data), left_(size) {}
    uint32_t byte() { return left_ == 0 ? 0 : (--left_, *data_++); }
    uint32_t word() {
        const uint32_t low = byte();
        return low | byte() << 8;
    }
    int32_t between(int32_t least, int32_t most) {
        return least + static_cast<int32_t>(word() % static_cast<uint32_t>(most - least + 1));
    }
    bool flag() { return byte() & 1; }
    float unit() { return static_cast<float>(byte()) / 255.0f; }

private:
    const uint8_t* data_;
    size_t left_;
};

// Numbers for large arrays from few bytes: any float32 pattern, small whole numbers that tie, and uniform ones.
class Numbers {
public:
    explicit Numbers(Bytes& bytes) : state_(bytes.word() * 2654435761u + 1) {
        for (float& value : patterns_) {
            const uint32_t bits = bytes.word() | bytes.word() << 16;
            std::memcpy(&value, &bits, sizeof value);
        }
        odd_ = bytes.byte();
        whole_ = bytes.byte();
        range_ = 1.0f + static_cast<float>(bytes.word());
    }
    uint32_t draw() {
        state_ = state_ * 1664525u + 1013904223u;
        return state_ >> 8;
    }
    uint16_t half() {  // any pattern, or one between 0 and 2
        const uint32_t pattern = draw();
        return static_cast<uint16_t>(pattern & 1 << 16 ? pattern : pattern % 0x4000);
    }
    float number(float range) {
        const uint32_t kind = draw() & 255;
        if (kind < odd_ / 4) return patterns_[draw() % count];
        if (kind < whole_) return static_cast<float>(draw() % 8) * range / 8;
        return static_cast<float>(draw() % 65536) / 65536.0f * range;
    }
    float coordinate() { return number(range_); }

private:
    static constexpr int count = 4;
    uint32_t state_, odd_, whole_;
    float patterns_[count], range_;
};

std::vector<const Table*> tables() {
    std::vector<const Table*> found;
    for (const char* const* name = table_names(); *name != nullptr; ++name) found.push_back(find_table(*name));
    return found;
}

const std::vector<const Table*> every = tables();

template <class T>
std::vector<T> copied(const T* start, int64_t count) {
    return std::vector<T>(start, start + count);
}

bool same_bits(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0; }

NmsLimits limits(Bytes& bytes, int64_t n, bool want_cut) {
    NmsLimits chosen{bytes.unit(), INT64_MAX, INT64_MAX, want_cut};
    if (bytes.flag()) chosen.max_nms = 1 + bytes.between(0, 65535) % (n + 1);
    if (bytes.flag()) chosen.max_det = 1 + bytes.between(0, 65535) % (n + 1);
    return chosen;
}

void fuzz_nms(Bytes& bytes) {
    const int64_t n = bytes.byte() < 255 ? bytes.between(0, 40) : bytes.between(0, 2000);  // 512 survivors make a grid
    const bool wide = bytes.flag(), one_class = bytes.byte() < 64;
    const int32_t class_range = bytes.byte() < 128 ? 3 : 40000;
    const bool cut = bytes.flag();
    const NmsLimits chosen = limits(bytes, n, cut);
    Numbers numbers(bytes);
    std::vector<float> boxes(4 * n), scores(n);
    std::vector<int32_t> narrow_ids(wide ? 0 : n);
    std::vector<int64_t> wide_ids(wide ? n : 0);
    for (int64_t i = 0; i < n; ++i) {
        float* box = boxes.data() + 4 * i;
        box[0] = numbers.coordinate();
        box[1] = numbers.coordinate();
        box[2] = box[0] + numbers.number(64);
        box[3] = box[1] + numbers.number(64);
        scores[i] = numbers.number(1);
        const int64_t id = static_cast<int64_t>(numbers.draw() % class_range) - 1;
        if (wide) wide_ids[i] = id * 1099511627776;
        else narrow_ids[i] = static_cast<int32_t>(id);
    }
    const void* ids = wide ? static_cast<const void*>(wide_ids.data()) : narrow_ids.data();
    const NmsRequest request{boxes.data(), scores.data(), one_class ? nullptr : ids, wide, n, chosen};
    std::vector<int32_t> first;
    for (const Table* table : every) {
        Arena& arena = thread_arena();
        arena.reset();
        const NmsReply reply = table->nms(request, arena);
        const std::vector<int32_t> kept = copied(reply.kept, reply.count);
        if (table == every.front()) first = kept;
        require(kept == first, "nms: the same on every instruction set");
        require(reply.count <= chosen.max_det && reply.nan >= 0 && reply.count + reply.nan <= n, "nms: counts");
        for (size_t k = 0; k < kept.size(); ++k) {
            require(kept[k] >= 0 && kept[k] < n, "nms: an index of the request");
            require(scores[kept[k]] == scores[kept[k]], "nms: NaN is dropped");
            if (k == 0) continue;
            const float before = scores[kept[k - 1]], now = scores[kept[k]];
            require(before > now || (before == now && kept[k - 1] < kept[k]), "nms: best first, ties by lower index");
        }
    }
}

int64_t cells(const std::vector<int32_t>& strides, int32_t height, int32_t width) {
    int64_t count = 0;
    for (int32_t stride : strides) count += static_cast<int64_t>(height / stride) * (width / stride);
    return count;
}

void check_head(const HeadRequest& request, const HeadReply& reply, int64_t anchors, int64_t classes) {
    require(reply.count <= request.limits.max_det && reply.nan >= 0, "head: counts");
    for (int64_t k = 0; k < reply.count; ++k) {
        require(reply.scores[k] > request.conf, "head: above conf");
        require(k == 0 || reply.scores[k - 1] >= reply.scores[k], "head: best first");
        require(reply.classes[k] >= 0 && reply.classes[k] < classes, "head: a class of the head");
        require(reply.indices[k] >= 0 && reply.indices[k] < anchors, "head: an anchor of the head");
        require(request.wanted == nullptr || request.wanted[reply.classes[k]] != 0, "head: a wanted class");
        if (request.geometry == nullptr) continue;
        const float* box = reply.boxes + 4 * k;
        for (int side = 0; side < 4; ++side)
            require(box[side] >= 0 && box[side] <= request.geometry[4 + side % 2], "head: inside the image");
    }
}

// Of eight forms two are soft.
void set_suppression(HeadRequest& request, uint32_t form) {
    request.suppression = form % 8 == 1 ? Suppression::linear : form % 8 == 2 ? Suppression::gaussian : Suppression::hard;
    request.sigma = 0.5;
}

void run_head(const HeadRequest& request, int64_t anchors, int64_t classes) {
    std::vector<float> boxes, scores;
    std::vector<int32_t> labels, indices;
    for (const Table* table : every) {
        Arena& arena = thread_arena();
        arena.reset();
        const HeadReply reply = table->head(request, arena);
        check_head(request, reply, anchors, classes);
        const int64_t count = reply.count;
        if (table == every.front()) {
            boxes = copied(reply.boxes, 4 * count);
            scores = copied(reply.scores, count);
            labels = copied(reply.classes, count);
            indices = copied(reply.indices, count);
        }
        require(copied(reply.classes, count) == labels && copied(reply.indices, count) == indices, "head: same objects");
        for (int64_t k = 0; k < count; ++k) require(same_bits(scores[k], reply.scores[k]), "head: same scores");
        for (int64_t k = 0; k < 4 * count; ++k) require(same_bits(boxes[k], reply.boxes[k]), "head: same boxes");
    }
}

void fuzz_head(Bytes& bytes) {
    const uint32_t form = bytes.byte();
    const Head head = static_cast<Head>(form % 3);
    const bool half = form & 128;
    const int32_t height = bytes.between(1, 40), width = bytes.between(1, 40);
    const std::vector<int32_t> strides = {1 + bytes.between(7, 15), 32};
    const int64_t anchors = head == Head::yolox ? cells(strides, height, width) : bytes.between(0, 70);
    const int64_t classes = bytes.byte() < 250 ? bytes.between(1, 9) : bytes.between(1, 70);
    const bool by_class = head == Head::yolo;
    const bool normalized = head != Head::yolox && bytes.flag(), sigmoid = bytes.flag();
    const bool choose = bytes.flag(), agnostic = bytes.flag(), multi_label = bytes.flag(), place = bytes.flag();
    const float conf = bytes.unit();
    const NmsLimits chosen = limits(bytes, anchors, true);
    Numbers numbers(bytes);
    const int64_t columns = by_class ? anchors : classes + 5, apart = columns + choose;
    const int64_t rows = by_class ? classes + 4 : anchors;
    const size_t size = rows == 0 ? 0 : static_cast<size_t>(apart * (rows - 1) + columns);
    std::vector<float> raw(half ? 0 : size);
    for (float& value : raw) value = numbers.draw() % 4 == 0 ? numbers.coordinate() : numbers.number(1);
    std::vector<uint16_t> halves(half ? size : 0);
    for (uint16_t& value : halves) value = numbers.half();
    std::vector<uint8_t> wanted(classes);
    for (uint8_t& want : wanted) want = numbers.draw() & 1;
    const std::vector<float> geometry = {0.5f + bytes.unit(), 0.5f + bytes.unit(), static_cast<float>(bytes.byte()),
                                         static_cast<float>(bytes.byte()), static_cast<float>(1 + bytes.word()),
                                         static_cast<float>(1 + bytes.word())};
    HeadRequest request{};
    request.half = half;
    request.raw = half ? static_cast<const void*>(halves.data()) : raw.data();
    request.row_step = apart;
    request.anchors = anchors;
    request.classes = classes;
    request.head = head;
    request.normalized = normalized;
    request.activation = sigmoid ? Activation::sigmoid : Activation::none;
    request.network_height = height;
    request.network_width = width;
    request.strides = strides.data();
    request.stride_count = static_cast<int32_t>(strides.size());
    request.conf = conf;
    request.wanted = choose ? wanted.data() : nullptr;
    request.agnostic = agnostic;
    request.multi_label = multi_label;
    request.limits = chosen;
    set_suppression(request, form >> 2);
    request.geometry = place ? geometry.data() : nullptr;
    run_head(request, anchors, classes);
}

std::vector<int64_t> level_sizes(Bytes& bytes, const HeadRequest& request) {
    if (request.head != Head::nanodet) return {bytes.between(0, 40)};
    std::vector<int64_t> counts;
    for (int32_t i = 0; i < request.stride_count; ++i) {
        const int32_t last = request.strides[i] - 1;  // levels have a cell more where a side is no multiple
        counts.push_back(cells({request.strides[i]}, request.network_height + last, request.network_width + last));
    }
    return counts;
}

// Class values and boxes of each level, side by side in one array or each in its own.
struct LevelArrays {
    std::vector<std::vector<float>> arrays;
    std::vector<std::vector<uint16_t>> halves;
    std::vector<Level> levels;

    LevelArrays(const HeadRequest& request, const std::vector<int64_t>& counts, bool together, Numbers& numbers) {
        const int64_t values = request.classes + (request.activation == Activation::softmax);
        const int64_t boxes = request.head == Head::nanodet ? 4 * request.bins : 4;
        const int64_t item = request.half ? 2 : 4;
        for (int64_t count : counts) {
            const char* first = filled(count * (together ? values + boxes : values), request.half, numbers);
            const char* second = together ? first + item * values : filled(count * boxes, request.half, numbers);
            levels.push_back({first, second, together ? values + boxes : values, together ? values + boxes : boxes, count});
        }
    }
    const char* filled(int64_t size, bool half, Numbers& numbers) {
        if (half) {
            std::vector<uint16_t>& array = halves.emplace_back(static_cast<size_t>(size));
            if (size == 0) array.reserve(1);  // as Python's empty arrays, which have an address
            for (uint16_t& value : array) value = numbers.half();
            return reinterpret_cast<const char*>(array.data());
        }
        std::vector<float>& array = arrays.emplace_back(static_cast<size_t>(size));
        if (size == 0) array.reserve(1);
        for (float& value : array) value = numbers.draw() % 4 == 0 ? numbers.coordinate() : numbers.number(8) - 2;
        return reinterpret_cast<const char*>(array.data());
    }
};

// Heads whose class values and boxes lie apart.
void fuzz_levels(Bytes& bytes) {
    HeadRequest request{};
    const uint32_t form = bytes.byte();
    request.head = static_cast<Head>(3 + form % 3);
    request.half = form & 128;
    request.network_height = bytes.between(1, 40);
    request.network_width = bytes.between(1, 40);
    const bool nanodet = request.head == Head::nanodet, selected = request.head == Head::selected;
    const std::vector<int32_t> strides = {1 + bytes.between(7, 15), 32};
    request.strides = strides.data();
    request.stride_count = nanodet ? 2 : 0;
    request.bins = nanodet ? bytes.between(2, 9) : 1;
    request.origin = bytes.flag() ? 0.5f : 0.0f;
    request.activation = selected ? Activation::none : static_cast<Activation>(bytes.byte() % (nanodet ? 2 : 3));
    request.normalized = !nanodet && bytes.flag();
    request.classes = selected ? 1 : bytes.between(1, 20);
    request.agnostic = bytes.flag();
    request.multi_label = bytes.flag();
    request.conf = bytes.unit();
    const bool choose = !selected && bytes.flag(), together = bytes.flag();
    const std::vector<int64_t> counts = level_sizes(bytes, request);
    int64_t anchors = 0;
    for (int64_t count : counts) anchors += count;
    request.limits = limits(bytes, anchors, true);
    if (bytes.byte() < 64) request.limits.iou = INFINITY;
    set_suppression(request, form >> 2);
    Numbers numbers(bytes);
    const LevelArrays arrays(request, counts, together, numbers);
    request.levels = arrays.levels.data();
    request.level_count = static_cast<int32_t>(counts.size());
    std::vector<int32_t> labels(anchors);
    for (int32_t& label : labels) label = static_cast<int32_t>(numbers.draw() % 6) - 2;
    request.labels = selected ? labels.data() : nullptr;
    std::vector<uint8_t> wanted(request.classes);
    for (uint8_t& want : wanted) want = numbers.draw() & 1;
    request.wanted = choose ? wanted.data() : nullptr;
    run_head(request, anchors, selected ? 4 : request.classes);
}

void fuzz_soft(Bytes& bytes) {
    const int64_t n = bytes.byte() < 250 ? bytes.between(0, 40) : bytes.between(0, 300);
    SoftRequest request{};
    request.gaussian = bytes.flag();
    const float iou = bytes.unit();
    request.sigma = 0.01 + bytes.unit();
    request.conf = bytes.unit() / 4;
    const int64_t max_det = bytes.flag() ? INT64_MAX : bytes.between(0, 300);
    const bool one_class = bytes.flag();
    Numbers numbers(bytes);
    std::vector<float> boxes(4 * n), scores(n);
    std::vector<int32_t> ids(n);
    for (float& value : boxes) value = numbers.coordinate();
    for (float& value : scores) value = numbers.number(1);
    for (int32_t& id : ids) id = static_cast<int32_t>(numbers.draw() % 3);
    request.boxes = {boxes.data(), scores.data(), one_class ? nullptr : ids.data(), false, n, {iou, n, max_det, false}};
    std::vector<int32_t> first;
    std::vector<float> first_scores;
    for (const Table* table : every) {
        Arena& arena = thread_arena();
        arena.reset();
        const SoftReply reply = table->soft_nms(request, arena);
        const std::vector<int32_t> kept = copied(reply.kept, reply.count);
        const std::vector<float> decayed = copied(reply.scores, reply.count);
        if (table == every.front()) {
            first = kept;
            first_scores = decayed;
        }
        require(kept == first && decayed == first_scores, "soft: the same on every instruction set");
        require(reply.count <= max_det && reply.count <= n, "soft: counts");
        for (size_t k = 0; k < kept.size(); ++k) {
            require(kept[k] >= 0 && kept[k] < n, "soft: an index of the request");
            require(decayed[k] > request.conf && decayed[k] <= scores[kept[k]], "soft: scores fall, down to conf");
            require(k == 0 || decayed[k - 1] >= decayed[k], "soft: best first");
        }
    }
}

// Where a resized image lies: inside the target, or over all of it, which is a crop.
void place(Bytes& bytes, LetterboxRequest& request) {
    const bool crop = bytes.flag();
    const auto side = [&](int32_t length, int64_t* start, int64_t* resized) {
        *resized = crop ? length + bytes.between(0, 20) : bytes.between(1, length);
        *start = crop ? -bytes.between(0, static_cast<int32_t>(*resized) - length)
                      : bytes.between(0, length - static_cast<int32_t>(*resized));
    };
    side(request.height, &request.top, &request.resized_height);
    side(request.width, &request.left, &request.resized_width);
}

void fuzz_resize(Bytes& bytes, bool antialias) {
    LetterboxRequest request{};
    request.source_height = bytes.between(1, 30);
    request.source_width = bytes.between(1, 30);
    request.source_step = 3 * request.source_width + bytes.between(0, 9);
    request.height = bytes.between(1, 24);
    request.width = bytes.between(1, 24);
    place(bytes, request);
    request.channels_last = bytes.flag();
    request.bgr = bytes.flag();
    const bool bicubic = bytes.flag();
    request.scale = 1.0f / 255;
    for (int channel = 0; channel < 3; ++channel) {
        request.mean[channel] = 0.1f * static_cast<float>(channel);
        request.std[channel] = 0.5f;
    }
    request.pad = 114.0f;
    Numbers numbers(bytes);
    std::vector<uint8_t> source(request.source_step * (request.source_height - 1) + 3 * request.source_width);
    for (uint8_t& value : source) value = static_cast<uint8_t>(numbers.draw());
    request.source = source.data();
    std::vector<float> first;
    for (const Table* table : every) {
        std::vector<float> target(3 * request.height * request.width, NAN);
        request.target = target.data();
        Arena& arena = thread_arena();
        arena.reset();
        if (antialias) table->resample({request, bicubic}, arena);
        else table->letterbox(request, arena);
        if (first.empty()) first = target;
        for (size_t k = 0; k < target.size(); ++k) {
            require(target[k] == target[k], "resize: every value is written");
            require(same_bits(target[k], first[k]), "resize: the same on every instruction set");
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Bytes bytes(data, size);
    switch (bytes.byte() % 6) {
        case 0: fuzz_nms(bytes); break;
        case 1: fuzz_head(bytes); break;
        case 2: fuzz_levels(bytes); break;
        case 3: fuzz_soft(bytes); break;
        case 4: fuzz_resize(bytes, false); break;
        default: fuzz_resize(bytes, true);
    }
    return 0;
}
