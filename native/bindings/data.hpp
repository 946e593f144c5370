// Typed elements in one block, with the lock that guards them in front: what Value, Array and Fields have in common.
#pragma once

#include "cells.hpp"

namespace allcores::bindings {

inline u64 make_data(const Code& code, u64 n) {
    Core& c = core();
    const u64 most = std::numeric_limits<u64>::max() / 2;
    if (n > most / code.bytes) raise_no_memory(most);
    const u64 bytes = n * code.bytes;
    const BlockId block = c.arena.take(sizeof(Data) + bytes);
    if (block == 0) raise_no_memory(sizeof(Data) + bytes);
    Data& d = *reinterpret_cast<Data*>(c.arena.data(block));
    std::memset(static_cast<void*>(&d), 0, sizeof(Data) + bytes);
    d.bytes = bytes;
    d.lock.recursive = 1;
    name_lock(d.lock);
    become_object(c.seg, c.arena, d.object, block, Kind::data);
    return c.seg.offset_of(&d);
}

inline u64 checked(u64 offset) {
    check_kind(offset, Kind::data, Kind::data);
    return offset;
}

// Common to all of them. `guard` is the offset of the lock: its own, somebody else's, or 0 for none.
class PyData {
public:
    PyData(char code, u64 n, u64 offset, i64 guard)
        : code_(code_for(code)), held_(offset != 0 ? checked(offset) : make_data(code_, n)), n_(n), seg_(core().seg) {
        Data& d = seg_.at<Data>(held_.offset());
        if (n * code_.bytes > d.bytes) raise_python(PyExc_ValueError, "handle and shared data do not fit together");
        at_ = d.data();
        if (guard < 0) guard_ = &d.lock;
        if (guard > 0) guard_ = &lock_of(static_cast<u64>(guard));
    }

    const Code& code() const { return code_; }
    u64 length() const { return n_; }
    u64 offset() const { return held_.offset(); }
    void* element(u64 i) const { return at_ + i * code_.bytes; }

    // f() under the lock. By default f does one store to shared memory or none: dying in it leaves nothing half done.
    template <class F>
    auto guarded(F&& f, u64 flags = kAtomicUpdate) {
        if (guard_ == nullptr) return f();
        LockView lock(seg_, *guard_);
        const bool mine = guard_->recursive == 0 && lock.held_by_me();  // a plain lock: as if it were recursive
        if (mine) return f();
        acquire(lock, flags);
        const Released afterwards{lock};
        return f();
    }

private:
    struct Released {
        LockView& lock;
        ~Released() { lock.release(); }
    };

    void acquire(LockView& lock, u64 flags) {
        const Acquire got = lock.try_acquire(flags);
        if (got == Acquire::busy) wait_for_lock(*guard_, kNever, flags);
        if (got == Acquire::owner_died) raise_owner_died(*guard_);
        if (flags == 0) note_acquired(*guard_);
    }

    const Code& code_;
    Held held_;
    u64 n_;
    const Segment& seg_;
    char* at_;
    LockState* guard_ = nullptr;
};

inline int data_buffer(PyObject* self, PyData& d, Py_buffer* view, int flags) {
    const auto bytes = static_cast<Py_ssize_t>(d.length() * d.code().bytes);
    if (PyBuffer_FillInfo(view, self, d.element(0), bytes, 0, flags) != 0) return -1;
    view->itemsize = d.code().bytes;
    if ((flags & PyBUF_FORMAT) != 0) view->format = const_cast<char*>(d.code().format);
    if ((flags & PyBUF_ND) != 0) {
        view->internal = new Py_ssize_t(static_cast<Py_ssize_t>(d.length()));
        view->shape = static_cast<Py_ssize_t*>(view->internal);
    }
    if ((flags & PyBUF_STRIDES) == PyBUF_STRIDES) view->strides = &view->itemsize;
    return 0;
}
template <class T>
int buffer_of(PyObject* self, Py_buffer* view, int flags) {
    return data_buffer(self, *nb::inst_ptr<T>(self), view, flags);
}
inline void release_buffer(PyObject*, Py_buffer* view) { delete static_cast<Py_ssize_t*>(view->internal); }

template <class F>
void* slot(F* f) {
    return reinterpret_cast<void*>(f);
}

}  // namespace allcores::bindings
