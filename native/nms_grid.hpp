// NMS once a class has many survivors: they are then kept by the cells of a grid that they cover, so that a candidate meets
// only those near it.
//
// Why the answer is the same. A box whose width or height is not positive, or whose area is not finite, neither suppresses nor
// is suppressed: every such IoU is 0 or NaN (or negative). For the others, IoU <= (common width) / (candidate's width), and
// likewise for heights. So a survivor that suppresses a candidate at threshold t shares more than t of its width: its interval
// reaches into what is left of the candidate's after t (a little less, for rounding) is taken off both ends. A cell's number
// is a monotone function of the coordinate, so the survivor lies in one of the cells that this middle part covers.
#pragma once
#include <cfloat>

#include "nms_blocks.hpp"
#include "nms_classes.hpp"

namespace boxmill::BOXMILL_ISA::nms_detail {

constexpr int64_t grid_least = 512;  // survivors of one class; up to here a plain list is as fast

struct Visit {
    const int32_t* rows;  // in the order of the sweep
    int64_t count;
    int64_t most;  // survivors wanted
    int64_t next;  // position in `rows`
};

static Segment* class_sizes(const Slots& slots, int64_t n, Arena& arena) {
    Segment* segments = no_segments(slots.count, arena);
    if (slots.of_row == nullptr) {
        segments[0].count = n;
    } else {
        for (int64_t i = 0; i < n; ++i) ++segments[slots.of_row[i]].count;
    }
    return segments;
}

struct Grid {
    double left, top;
    double per_x, per_y;  // cells in one unit of length
    int64_t columns, rows;
};

struct Cells {
    int64_t left, top, right, bottom;  // inclusive
};

// Where the segments of a class begin: columns * rows of them where it is divided, else one.
struct Territory {
    int64_t first;
    bool divided;
};

struct Field {
    Slots slots;
    Grid grid;
    Territory* territories;  // by slot
    Segment* segments;
    int64_t segment_count;
};

static int64_t segment_at(const Field& field, const Territory& territory, int64_t x, int64_t y) {
    return territory.first + y * field.grid.columns + x;
}

static bool can_overlap(const float* box) { return box[2] - box[0] > 0 && box[3] - box[1] > 0 && area_of(box) <= FLT_MAX; }

static int64_t cell(double distance, double per, int64_t cells) {
    const double at = distance * per;
    return at > 0 ? (at < static_cast<double>(cells) ? static_cast<int64_t>(at) : cells - 1) : 0;
}

// The cells that a box covers after `margin` (0 to below 0.5) of its width and height is taken off at each side.
static Cells covered(const Grid& grid, const Territory& territory, const float* box, double margin) {
    if (!territory.divided) return {0, 0, 0, 0};
    const double x1 = box[0], y1 = box[1], x2 = box[2], y2 = box[3];
    const double x = margin * (x2 - x1), y = margin * (y2 - y1);
    return {cell(x1 + x - grid.left, grid.per_x, grid.columns), cell(y1 + y - grid.top, grid.per_y, grid.rows),
            cell(x2 - x - grid.left, grid.per_x, grid.columns), cell(y2 - y - grid.top, grid.per_y, grid.rows)};
}

// Where products may lose bits to underflow, every cell of the candidate is looked at.
static double margin_at(float threshold, float area) {
    if (!(threshold > 0.01f && area > 1e-30f)) return 0;
    return threshold < 0.5f ? 0.98 * threshold : 0.49;
}

// Cells 3.5 times the mean box, and no more of them than `most_cells`. Smaller cells leave blocks half empty, and more of them
// than the cache holds (measured with 1.5 to 4.5).
static Grid fitted(const NmsRequest& request, int64_t most_cells) {
    double left = DBL_MAX, top = DBL_MAX, right = -DBL_MAX, bottom = -DBL_MAX, width = 0, height = 0;
    int64_t boxes = 0;
    for (int64_t i = 0; i < request.n; ++i) {
        const float* box = request.boxes + 4 * i;
        if (!can_overlap(box)) continue;
        left = box[0] < left ? box[0] : left;
        top = box[1] < top ? box[1] : top;
        right = box[2] > right ? box[2] : right;
        bottom = box[3] > bottom ? box[3] : bottom;
        width += static_cast<double>(box[2]) - box[0];
        height += static_cast<double>(box[3]) - box[1];
        ++boxes;
    }
    if (boxes == 0) return {0, 0, 0, 0, 1, 1};
    const double most = static_cast<double>(most_cells);
    const double wide = (right - left) * static_cast<double>(boxes) / (3.5 * width);
    const double high = (bottom - top) * static_cast<double>(boxes) / (3.5 * height);
    int64_t columns = 1 + static_cast<int64_t>(wide < most ? wide : most);
    int64_t rows = 1 + static_cast<int64_t>(high < most ? high : most);
    while (columns * rows > most_cells) (columns > rows ? columns : rows) /= 2;
    return {left, top, static_cast<double>(columns) / (right - left), static_cast<double>(rows) / (bottom - top), columns, rows};
}

// Counts the most survivors that each segment may get; false where they are too many together.
static bool counted(const NmsRequest& request, Field& field) {
    std::memset(field.segments, 0, sizeof(Segment) * static_cast<size_t>(field.segment_count));
    int64_t total = 0;
    for (int64_t i = 0; i < request.n; ++i) {
        const Territory& territory = field.territories[slot_of(field.slots, i)];
        const float* box = request.boxes + 4 * i;
        if (!can_overlap(box)) continue;
        const Cells at = covered(field.grid, territory, box, 0);
        total += (at.bottom - at.top + 1) * (at.right - at.left + 1);
        if (total > 6 * request.n) return false;
        for (int64_t y = at.top; y <= at.bottom; ++y)
            for (int64_t x = at.left; x <= at.right; ++x)
                ++field.segments[segment_at(field, territory, x, y)].count;
    }
    return true;
}

// Classes that cannot reach `grid_least` survivors stay whole. The grid is coarsened until few boxes cover many cells.
static Field laid_out(const NmsRequest& request, const Slots& slots, Arena& arena) {
    const Segment* sizes = class_sizes(slots, request.n, arena);
    int64_t divided = 0;
    for (int64_t slot = 0; slot < slots.count; ++slot) divided += sizes[slot].count >= grid_least;
    Field field{slots, fitted(request, request.n / divided), arena.take<Territory>(slots.count), nullptr, 0};
    const int64_t most = divided * field.grid.columns * field.grid.rows + slots.count;
    field.segments = arena.take<Segment>(most);
    for (;;) {
        field.segment_count = 0;
        for (int64_t slot = 0; slot < slots.count; ++slot) {
            const bool heavy = sizes[slot].count >= grid_least;
            field.territories[slot] = {field.segment_count, heavy};
            field.segment_count += heavy ? field.grid.columns * field.grid.rows : 1;
        }
        if (counted(request, field)) return field;
        Grid& grid = field.grid;
        const int64_t columns = (grid.columns + 1) / 2, rows = (grid.rows + 1) / 2;
        grid.per_x *= static_cast<double>(columns) / static_cast<double>(grid.columns);
        grid.per_y *= static_cast<double>(rows) / static_cast<double>(grid.rows);
        grid.columns = columns;
        grid.rows = rows;
    }
}

template <class M>
static bool suppressed_in(const NmsRequest& request, const Field& field, int32_t row, const Block* blocks, M& meter) {
    const float* box = request.boxes + 4 * static_cast<int64_t>(row);
    if (!can_overlap(box)) return false;
    const float area = area_of(box), threshold = request.limits.iou;
    const Territory& territory = field.territories[slot_of(field.slots, row)];
    const Cells at = covered(field.grid, territory, box, margin_at(threshold, area));
    for (int64_t y = at.top; y <= at.bottom; ++y)
        for (int64_t x = at.left; x <= at.right; ++x)
            if (suppressed(blocks, field.segments[segment_at(field, territory, x, y)], box, area, threshold, meter)) return true;
    return false;
}

static void settle(const NmsRequest& request, const Field& field, int32_t row, Block* blocks) {
    const float* box = request.boxes + 4 * static_cast<int64_t>(row);
    if (!can_overlap(box)) return;
    const float area = area_of(box);
    const Territory& territory = field.territories[slot_of(field.slots, row)];
    const Cells at = covered(field.grid, territory, box, 0);
    for (int64_t y = at.top; y <= at.bottom; ++y)
        for (int64_t x = at.left; x <= at.right; ++x)
            append(blocks, field.segments[segment_at(field, territory, x, y)], box, area);
}

// Goes on from `visit.next` with the `found` survivors that plain lists gave so far.
template <class M>
static int64_t sweep_grid(const NmsRequest& request, Visit visit, const Slots& slots, int32_t* kept, int64_t found,
                          Arena& arena, M& meter) {
    meter.end(CostStep::suppress);
    const Field field = laid_out(request, slots, arena);
    Block* blocks = room_for(field.segments, field.segment_count, arena);
    for (int64_t i = 0; i < found; ++i) settle(request, field, kept[i], blocks);
    meter.end(CostStep::group);
    for (; visit.next < visit.count && found < visit.most; ++visit.next) {
        const int32_t row = visit.rows[visit.next];
        if (suppressed_in(request, field, row, blocks, meter)) continue;
        settle(request, field, row, blocks);
        kept[found++] = row;
    }
    return found;
}

}  // namespace boxmill::BOXMILL_ISA::nms_detail
