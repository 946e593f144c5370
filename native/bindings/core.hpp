// What the bindings share: this process's segment, its holds, and how Python waits.
#pragma once

#include <nanobind/nanobind.h>

#include <cxxabi.h>

#include <vector>

#include "allcores/several.hpp"

namespace allcores::bindings {

namespace nb = nanobind;

// This process's end of the segment. One per process, for ever: shared objects may be looked at until the very exit.
struct Core {
    Segment seg;
    Arena arena{seg};
    std::mutex mutex;                    // of `holds`; and held in a fork
    std::unordered_map<u64, u32> holds;  // handle -> how many of it this process has
    u64 forks = 0;                       // of this process and of those it was forked from
    u32 ancestors = 0;                   // processes that this one was forked from, one from the other
    PyObject* look_around = nullptr;     // called when a wait has lasted long: is the template still there?
    std::atomic<u64> kept{0};            // bytes of the blocks that objects of this process are made of
    bool trace_locks = false;            // acquire() notes the line of the program
};

inline Core* const the_core = new Core;
inline Core& bare_core() { return *the_core; }

// Makes a segment, or takes part in the one that is there.
void prepare_core();
void join_for_life(Segment& seg);

// Of the dead, those that no template will settle, or all; and settling one (module.cpp).
std::vector<u32> dead_pids(bool all);
bool recover_process(u32 pid, nb::tuple body, u32 died);

// The core, with a segment: the first use in a program makes one.
inline Core& core() {
    if (the_core->seg.me == 0) [[unlikely]] prepare_core();
    return *the_core;
}

// A hold on a shared object, or on a side of a pipe, for as long as a handle of it lives in this process.
class Held {
public:
    explicit Held(u64 handle);
    ~Held();
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;

    u64 offset() const { return offset_of(handle_); }
    Object& object() const { return core().seg.at<Object>(offset()); }

private:
    u64 handle_;
};

// Refuses an offset that is no object of the kind: a handle from another program, or one that outlived its object.
void check_kind(u64 offset, Kind a, Kind b);

[[noreturn]] void raise_no_memory(u64 bytes);
[[noreturn]] void raise_python(PyObject* type, const char* text);

// An attribute of a Python module, looked up once and kept for ever.
PyObject* python_name(PyObject*& cache, const char* module, const char* name);

// The deadline for the standard's (block, timeout): 0 means do not wait.
i64 deadline_for(bool block, nb::handle timeout);

// Takes the GIL again. Where the interpreter is ending, Python ends a daemon thread that asks for it by pthread_exit, which
// would unwind our frames: their destructors need the GIL. Such a thread stays here for ever instead.
inline void take_gil(PyThreadState* state) {
#if PY_VERSION_HEX >= 0x030d0000
    const bool ending = Py_IsFinalizing() != 0;
#else
    const bool ending = _Py_IsFinalizing() != 0;
#endif
    while (ending) pause();
    try {
        PyEval_RestoreThread(state);
    } catch (abi::__forced_unwind&) {  // the end began between the two lines
        for (;;) pause();
    }
}

// Calls something that runs Python, which may let go of the GIL and ask for it again: likewise.
template <class F>
auto in_python(F&& f) {
    try {
        return f();
    } catch (abi::__forced_unwind&) {
        for (;;) pause();
    }
}

// Runs f() without the GIL.
template <class F>
auto without_gil(F&& f) {
    PyThreadState* state = PyEval_SaveThread();
    auto result = f();
    take_gil(state);
    return result;
}

// Waits as wait_for does, without the GIL, and lets signals through. False: the deadline came. `look()` is called, with the
// GIL, whenever the wait was interrupted: by a signal, or because it has lasted long.
template <class Attempt, class More, class BeforeSleep, class Look>
bool wait_python(Parking& parking, i64 deadline, Attempt&& attempt, More&& more, BeforeSleep&& before_sleep, Look&& look) {
    Core& c = core();
    if (attempt()) {
        if (looked(c.seg, parking) && more()) notify_one(c.seg, parking);
        return true;
    }
    if (deadline == 0) return false;
    for (;;) {
        const Wait result = without_gil([&] {
            const Wait waited = wait_for(c.seg, parking, deadline, attempt, more, before_sleep);
            if (waited == Wait::interrupted) tend(c.arena);  // time for what nobody is there for
            return waited;
        });
        if (result != Wait::interrupted) return result == Wait::done;
        if (PyErr_CheckSignals() != 0) throw nb::python_error();
        if (c.look_around != nullptr) in_python([&] { return nb::handle(c.look_around)(); });
        look();
    }
}

template <class Attempt, class More>
bool wait_python(Parking& parking, i64 deadline, Attempt&& attempt, More&& more) {
    return wait_python(parking, deadline, attempt, more, [] {}, [] {});
}

// Type slots and methods that the interpreter calls itself, at half the cost of a bound function: errors are its, not C++'s.
template <class F>
auto as_slot(F&& f, decltype(f()) failed) noexcept {
    try {
        return f();
    } catch (nb::python_error& e) {
        e.restore();
    } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
    } catch (const std::exception& e) {
        PyErr_SetString(PyExc_RuntimeError, e.what());
    }
    return failed;
}

// The C++ object of an instance. A subclass may have left out super().__init__().
template <class T>
T* ready(PyObject* self) {
    if (!nb::inst_ready(self)) raise_python(PyExc_TypeError, "not initialized: call super().__init__() in __init__()");
    return nb::inst_ptr<T>(self);
}

// codec.cpp
void encode(nb::handle object, Message& message);
void encode_bytes(const char* data, u64 bytes, Message& message);
nb::object decode(Message& message);
// In a fork: what its parent stored is its parent's, and the blocks may be in another use by the time that this one lets go.
void forget_stored();

void bind_codec(nb::module_& m);
void bind_channel(nb::module_& m);
void bind_lock(nb::module_& m);
void bind_sync(nb::module_& m);
void bind_meeting(nb::module_& m);
void bind_shared(nb::module_& m);
void bind_memory(nb::module_& m);
void bind_fields(nb::module_& m);
void bind_chunk(nb::module_& m);
void bind_record(nb::module_& m);
void bind_statistics(nb::module_& m);
void bind_pipe(nb::module_& m);
void bind_several(nb::module_& m);
void bind_workers(nb::module_& m);
void bind_title(nb::module_& m);
void bind_fork(nb::module_& m);

// lock.cpp: the lock inside a shared object, whichever kind it is.
LockState& lock_of(u64 offset);

// Since when, and where if that is traced, this thread has the lock.
void note_acquired(LockState& lock, u64 where = 0);

// Makes a lock's state anew, in memory that is all zeros.
void name_lock(LockState& lock);

// Waits for a lock that was found busy. False: the deadline came. Raises OwnerDied, and DeadlockError where the wait could
// never end.
bool wait_for_lock(LockState& state, i64 deadline, u64 flags);
[[noreturn]] void raise_owner_died(LockState& state);

// A fresh object of the kind in a block of its own, held by this process, zeroed.
template <class T>
T& make_object(Kind kind, u64 bytes = sizeof(T)) {
    Core& c = core();
    const BlockId block = c.arena.take(bytes);
    if (block == 0) raise_no_memory(bytes);
    T& made = *reinterpret_cast<T*>(c.arena.data(block));
    std::memset(static_cast<void*>(&made), 0, bytes);
    become_object(c.seg, c.arena, made.object, block, kind);
    return made;
}

}  // namespace allcores::bindings
