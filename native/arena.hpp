// Scratch memory that a thread keeps between calls, so that no kernel allocates in the steady state.
#pragma once
#include <cstddef>
#include <cstdint>

namespace boxmill {

class Arena {
public:
    Arena() = default;
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;
    ~Arena();

    void reset();                    // everything taken before is invalid; called once at the start of each native call
    void* take_bytes(size_t bytes);  // 64-byte aligned, uninitialised; throws std::bad_alloc

    template <class T>
    T* take(size_t count) {
        return static_cast<T*>(take_bytes(count * sizeof(T)));
    }

private:
    struct Block;
    static void release(Block* block);

    Block* head_ = nullptr;
    size_t used_ = 0;
};

Arena& thread_arena();  // this thread's own

}  // namespace boxmill
