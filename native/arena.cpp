#include "arena.hpp"

#include <cstdlib>
#include <new>

// Under AddressSanitizer only what was taken may be touched: what lies between and behind is poisoned.
#if defined(__SANITIZE_ADDRESS__)
#define BOXMILL_POISONS
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BOXMILL_POISONS
#endif
#endif
#if defined(BOXMILL_POISONS)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) static_cast<void>(0)
#define ASAN_UNPOISON_MEMORY_REGION(address, size) static_cast<void>(0)
#endif

namespace boxmill {

namespace {
constexpr size_t alignment = 64;
constexpr size_t first_block = size_t{1} << 20;
constexpr size_t kept_block = size_t{64} << 20;  // a larger one is given back at the next reset
}  // namespace

struct alignas(alignment) Arena::Block {
    Block* previous;
    size_t size;  // bytes behind this header
};

void Arena::release(Block* block) {
    ASAN_UNPOISON_MEMORY_REGION(block + 1, block->size);
    std::free(block);
}

Arena::~Arena() {
    while (head_ != nullptr) {
        Block* previous = head_->previous;
        release(head_);
        head_ = previous;
    }
}

// Keeps the newest (largest) block only: after a few calls one block holds everything that a call needs.
void Arena::reset() {
    used_ = 0;
    if (head_ == nullptr) return;
    Block* keep = head_->size <= kept_block ? head_ : nullptr;
    Block* block = keep != nullptr ? head_->previous : head_;
    while (block != nullptr) {
        Block* previous = block->previous;
        release(block);
        block = previous;
    }
    head_ = keep;
    if (keep == nullptr) return;
    keep->previous = nullptr;
    ASAN_POISON_MEMORY_REGION(keep + 1, keep->size);
}

void* Arena::take_bytes(size_t bytes) {
    if (bytes > SIZE_MAX / 4) throw std::bad_alloc();
    const size_t asked = bytes;
    bytes = (bytes + alignment - 1) / alignment * alignment;
#if defined(BOXMILL_POISONS)
    bytes += alignment;  // never to be touched
#endif
    if (head_ == nullptr || head_->size - used_ < bytes) {
        size_t size = head_ == nullptr ? first_block : head_->size * 2;
        while (size < bytes) size *= 2;
        void* memory = std::aligned_alloc(alignment, sizeof(Block) + size);
        if (memory == nullptr) throw std::bad_alloc();
        head_ = new (memory) Block{head_, size};
        used_ = 0;
        ASAN_POISON_MEMORY_REGION(head_ + 1, size);
    }
    char* start = reinterpret_cast<char*>(head_ + 1) + used_;
    used_ += bytes;
    ASAN_UNPOISON_MEMORY_REGION(start, asked);
    static_cast<void>(asked);
    return start;
}

Arena& thread_arena() {
    thread_local Arena arena;
    return arena;
}

}  // namespace boxmill
