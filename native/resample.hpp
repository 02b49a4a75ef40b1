// Antialiased resizing as taggers are trained with it: Pillow's Image.resize of 8-bit RGB, bilinear or bicubic, bit for bit
// (compared with 13.0, one axis a call), then what letterbox.hpp does: crop or border, colour order, normalisation, layout.
//
// The filter is centred on each output pixel and widens with the factor by which the image shrinks; its weights are computed
// in double precision, divided by their sum and rounded to 22 bits. First across the rows, then down between them, with whole
// grey levels in between. src/boxmill/images/antialias.py is the definition.
//
// Only what the crop keeps is computed, in one pass: a few source rows at a time, one in each 16 bytes of a register, are
// resized across into a ring that holds no more rows than the filter spans. bench/tagger.py measures from Python.
#pragma once
#include "api.hpp"
#include "arena.hpp"
#include "resample_lanes.hpp"
#include "target.hpp"

namespace boxmill::BOXMILL_ISA {

// One axis of the resizing. A span is the source pixels that one output pixel takes; its weights are in 1 / 2^22.
struct Span {
    int64_t first, count;
};

class Axis {
public:
    Axis(int64_t source, int64_t resized, bool bicubic, Arena& arena)
        : source_(source), bicubic_(bicubic), scale_(static_cast<double>(source) / resized),
          widened_(scale_ < 1 ? 1 : scale_), support_((bicubic ? 2 : 1) * widened_) {
        const int64_t most = 2 * ceiling(support_) + 1;
        most_ = most < source ? most : source;
        exact_ = arena.take<double>(size_t(most_));
        weights_ = arena.take<int32_t>(size_t(most_));
    }

    int64_t most() const { return most_; }  // pixels of a span

    // The span of one output pixel; `weights` holds its weights until the next call.
    Span span(int64_t index) {
        const double center = (index + 0.5) * scale_, step = 1 / widened_;
        int64_t first = int64_t(center - support_ + 0.5), last = int64_t(center + support_ + 0.5);
        if (first < 0) first = 0;
        if (last > source_) last = source_;
        double sum = 0;
        for (int64_t i = 0; i < last - first; ++i) sum += exact_[i] = value_at(((i + first) - center + 0.5) * step);
        for (int64_t i = 0; i < last - first; ++i) {
            const double scaled = (sum != 0 ? exact_[i] / sum : exact_[i]) * (1 << weight_bits);
            weights_[i] = static_cast<int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
        }
        return {first, last - first};
    }

    const int32_t* weights() const { return weights_; }

private:
    static int64_t ceiling(double value) {
        const int64_t whole = int64_t(value);
        return whole < value ? whole + 1 : whole;
    }

    // The filter: a triangle, or Keys' cubic convolution with a = -1/2.
    double value_at(double x) const {
        x = x < 0 ? -x : x;
        if (!bicubic_) return x < 1 ? 1 - x : 0;
        constexpr double a = -0.5;
        if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
        return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
    }

    int64_t source_;
    bool bicubic_;
    double scale_, widened_, support_;  // source pixels
    int64_t most_;
    double* exact_;
    int32_t* weights_;
};

// The weights of every output column, some columns at a time where all of them together would be large: an image of a
// million columns has few rows, so that computing them again for each few rows costs little.
class AcrossWeights {
public:
    AcrossWeights(const LetterboxRequest& request, const Window& window, bool bicubic, Arena& arena)
        : axis_(request.source_width, request.resized_width, bicubic, arena), from_(window.from_left), count_(window.width) {
        stride_ = (axis_.most() + quad_pixels - 1) / quad_pixels;
        const int64_t affordable = budget / (stride_ * int64_t(sizeof(Quad))) / at_once * at_once;
        const int64_t all = padded();
        block_ = affordable < at_once ? at_once : affordable < all ? affordable : all;
        reach_ = arena.take<Reach>(size_t(block_));
        quads_ = arena.take<Quad>(size_t(block_ * stride_));
    }

    // (padded(),) pixels of each of `parts` rows.
    void resize(const uint8_t* const (&rows)[parts], uint32_t* const (&out)[parts]) {
        for (int64_t start = 0; start < padded(); start += block_) {
            load(start);
            for (int64_t x = 0; x < block_ && start + x < padded(); x += at_once) {
                uint32_t* here[parts];
                for (int i = 0; i < parts; ++i) here[i] = out[i] + start + x;
                across(rows, reach_ + x, quads_ + x * stride_, stride_, here);
            }
        }
    }

    int64_t padded() const { return (count_ + at_once - 1) / at_once * at_once; }

private:
    static constexpr int64_t budget = 8 << 20;  // bytes of weights

    void load(int64_t start) {
        if (loaded_ == start) return;
        loaded_ = start;
        for (int64_t x = 0; x < block_; ++x) {
            reach_[x] = {0, 0};
            if (start + x >= count_) continue;
            const Span span = axis_.span(from_ + start + x);
            reach_[x] = {3 * span.first, (span.count + quad_pixels - 1) / quad_pixels};
            Quad* quads = quads_ + x * stride_;
            for (int64_t i = 0; i < reach_[x].quads * quad_pixels; ++i)
                quads[i / quad_pixels].set(int(i % quad_pixels), i < span.count ? axis_.weights()[i] : 0);
        }
    }

    Axis axis_;
    int64_t from_, count_, stride_, block_, loaded_ = -1;
    Reach* reach_;
    Quad* quads_;
};

// Source rows resized across, kept while an output row still needs them.
class Ring {
public:
    Ring(const LetterboxRequest& request, AcrossWeights& columns, int64_t most, Arena& arena)
        : source_{request, quad_past}, columns_(columns), capacity_(most + parts),
          width_((columns.padded() + words - 1) / words * words) {
        pixels_ = arena.take<uint32_t>(size_t((capacity_ + 1) * width_));  // and one for rows below the last
        for (uint8_t*& copy : copies_) copy = source_.copy(arena);
    }

    // Rows up to `span`'s last are there afterwards, and all of the span's. Spans never go back.
    void advance(const Span& span) {
        if (next_ < span.first) next_ = span.first;
        for (; next_ < span.first + span.count; next_ += parts) {
            const uint8_t* rows[parts];
            uint32_t* out[parts];
            for (int i = 0; i < parts; ++i) {
                const bool below = next_ + i >= source_.request.source_height;
                rows[i] = source_.readable(source_.at(next_ + i), copies_[i]);
                out[i] = pixels_ + (below ? capacity_ : (next_ + i) % capacity_) * width_;
            }
            columns_.resize(rows, out);
        }
    }

    const uint32_t* row(int64_t y) const { return pixels_ + y % capacity_ * width_; }
    int64_t width() const { return width_; }  // whole registers

private:
    SourceRows source_;
    AcrossWeights& columns_;
    int64_t capacity_, width_, next_ = 0;
    uint32_t* pixels_;
    uint8_t* copies_[parts];
};

static void resample(const ResampleRequest& request, Arena& arena) {
    const LetterboxRequest& image = request.image;
    const Target target(image);
    const Window& window = target.window;
    AcrossWeights columns(image, window, request.bicubic, arena);
    Axis axis(image.source_height, image.resized_height, request.bicubic, arena);
    Ring ring(image, columns, axis.most(), arena);
    const uint32_t** rows = arena.take<const uint32_t*>(size_t(axis.most()));
    uint32_t* row = arena.take<uint32_t>(size_t(ring.width()));
    for (int32_t y = 0; y < window.height; ++y) {
        const Span span = axis.span(window.from_top + y);
        ring.advance(span);
        for (int64_t i = 0; i < span.count; ++i) rows[i] = ring.row(span.first + i);
        for (int64_t x = 0; x < ring.width(); x += words) down(rows, axis.weights(), span.count, x, row);
        target.image_row(window.top + y, row);
    }
    target.borders_above_and_below();
}

}  // namespace boxmill::BOXMILL_ISA
