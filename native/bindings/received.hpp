// What arrived and is still there: an array that was received is the block it came in, not a copy of it.
#pragma once

#include "core.hpp"

namespace allcores::bindings {

// Without the GIL where that is worth it: from about 50 us on.
template <class F>
auto without_gil_from(u64 bytes, F&& f) {
    return bytes < (1 << 20) ? f() : without_gil(f);
}

// A block that this process owns, as a writable buffer.
struct Block {
    BlockId id;
    u64 offset;  // of the bytes in the block
    u64 bytes;
    u64 forks;
    Block(BlockId i, u64 o, u64 b) : id(i), offset(o), bytes(b), forks(core().forks) { core().kept.fetch_add(core().arena.size(id)); }
    ~Block() {
        // After a fork parent and child both look at it, and neither knows when the other is done: it stays.
        Core& c = bare_core();
        if (c.forks != forks) return;
        c.kept.fetch_sub(c.arena.size(id));
        c.arena.give_back(id);
    }
    Block(const Block&) = delete;
};

// So many bytes of blocks a process may keep: all together half of the segment. So those who keep what they receive never
// leave the others without addresses; where no limit of addresses made the segment small, half of it is twice the machine's
// memory, and nobody comes so far.
inline u64 keep_limit() {
    const Header& h = core().seg.header();
    return h.bytes / 2 / std::max(h.participants_used.load(std::memory_order_relaxed), 1U);
}

// A buffer of a message, whose block this process owns now: writable, and the receiver's own. Beyond the limit it is a copy in
// private memory, as long as there is some, and the block goes back.
inline nb::object receive_buffer(BlockId id, u64 bytes) {
    Core& c = core();
    without_gil_from(bytes, [&] { return c.arena.pages().populate(id, bytes); });
    if (c.kept.load() + c.arena.size(id) > keep_limit()) {
        PyObject* copy = PyByteArray_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(bytes));
        if (copy != nullptr) {
            without_gil_from(bytes, [&] { return std::memcpy(PyByteArray_AS_STRING(copy), c.arena.data(id), bytes); });
            c.arena.give_back(id);
            return nb::steal(copy);
        }
        PyErr_Clear();
    }
    return nb::cast(new Block(id, 0, bytes), nb::rv_policy::take_ownership);
}

}  // namespace allcores::bindings
