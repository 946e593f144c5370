// Lock, RLock, Semaphore, BoundedSemaphore and Event for Python.
#include "core.hpp"

namespace allcores::bindings {

namespace {

template <class T>
T& make_object(Kind kind) {
    Core& c = core();
    const BlockId block = c.arena.take(sizeof(T));
    if (block == 0) raise_no_memory(sizeof(T));
    T& made = *reinterpret_cast<T*>(c.arena.data(block));
    std::memset(static_cast<void*>(&made), 0, sizeof(T));
    become_object(c.seg, c.arena, made.object, block, kind);
    return made;
}

u64 make_lock(bool recursive) {
    Lock& lock = make_object<Lock>(Kind::lock);
    lock.state.recursive = recursive ? 1 : 0;
    return core().seg.offset_of(&lock);
}

PyObject* owner_died = nullptr;

// A lock of its own, or the one inside a Value or Array.
class PyLock {
public:
    PyLock(bool recursive, u64 offset)
        : held_(offset != 0 ? checked(offset) : make_lock(recursive)), state_(lock_of(held_.offset())), seg_(core().seg) {}

    bool acquire(bool block, nb::handle timeout) {
        LockView lock(seg_, state_);
        Acquire got = lock.try_acquire();
        if (got == Acquire::ok) return true;
        if (got == Acquire::busy && block) {
            const bool in_time = wait_python(
                state_.parking, deadline_for(block, timeout),
                [&] { return (got = lock.try_acquire()) != Acquire::busy; }, [&] { return lock.is_free(); });
            if (!in_time) return false;
        }
        if (got == Acquire::owner_died) raise_owner_died();
        return got == Acquire::ok;
    }

    void release() {
        switch (LockView(seg_, state_).release()) {
            case Release::ok: return;
            case Release::not_held:  // a recursive lock says not_owner instead
                raise_python(PyExc_ValueError, "release() of a lock that is not held: acquire() it first, and release it once");
            case Release::not_owner:
                raise_python(PyExc_AssertionError,
                             "attempt to release recursive lock not owned by thread: an RLock is released by the thread that "
                             "acquired it; use a Lock to release from elsewhere");
        }
    }

    bool enter() { return acquire(true, nb::none()); }
    void exit(nb::args) { release(); }
    bool locked() const { return !LockView(seg_, state_).is_free(); }
    bool recover() { return LockView(seg_, state_).mend(); }
    bool recursive() const { return state_.recursive != 0; }
    u64 offset() const { return held_.offset(); }

private:
    static u64 checked(u64 offset) {
        check_kind(offset, Kind::lock, Kind::data);
        return offset;
    }

    [[noreturn]] void raise_owner_died() {
        nb::object error = nb::handle(python_name(owner_died, "allcores.errors", "OwnerDied"))(state_.died_pid.load());
        PyErr_SetObject(nb::handle(owner_died).ptr(), error.ptr());
        throw nb::python_error();
    }

    Held held_;
    LockState& state_;
    const Segment& seg_;
};

class PySemaphore {
public:
    PySemaphore(i64 value, bool bounded, u64 offset) : held_(offset != 0 ? checked(offset) : make(value, bounded)) {}

    bool acquire(bool block, nb::handle timeout) {
        Semaphore& s = state();
        return wait_python(s.parking, deadline_for(block, timeout), [&] { return try_acquire(s); },
                           [&] { return s.value.load() > 0; });
    }
    void release(i64 n) {
        if (n < 1) raise_python(PyExc_ValueError, "n must be at least 1: release(n) gives back n permits");
        if (!allcores::release(state(), n))
            raise_python(PyExc_ValueError, "semaphore released more often than it was acquired");
    }
    bool enter() { return acquire(true, nb::none()); }
    void exit(nb::args) { release(1); }
    i64 value() const { return state().value.load(); }
    u64 offset() const { return held_.offset(); }

private:
    static u64 checked(u64 offset) {
        check_kind(offset, Kind::semaphore, Kind::semaphore);
        return offset;
    }
    static u64 make(i64 value, bool bounded) {
        if (value < 0) raise_python(PyExc_ValueError, "value must be 0 or more: it is how many may enter");
        Semaphore& s = make_object<Semaphore>(Kind::semaphore);
        s.value.store(value);
        s.most = bounded ? value : kNever;
        return core().seg.offset_of(&s);
    }
    Semaphore& state() const { return core().seg.at<Semaphore>(held_.offset()); }

    Held held_;
};

class PyEvent {
public:
    explicit PyEvent(u64 offset) : held_(offset != 0 ? checked(offset) : make()) {}

    bool is_set() const { return state().is_set.load() != 0; }
    void set() { allcores::set(state()); }
    void clear() { state().is_set.store(0); }
    bool wait(nb::handle timeout) {
        Event& e = state();
        return wait_python(e.parking, deadline_for(true, timeout), [&] { return e.is_set.load() != 0; }, [] { return false; });
    }
    u64 offset() const { return held_.offset(); }

private:
    static u64 checked(u64 offset) {
        check_kind(offset, Kind::event, Kind::event);
        return offset;
    }
    static u64 make() { return core().seg.offset_of(&make_object<Event>(Kind::event)); }
    Event& state() const { return core().seg.at<Event>(held_.offset()); }

    Held held_;
};

}  // namespace

LockState& lock_of(u64 offset) {
    check_kind(offset, Kind::lock, Kind::data);
    Core& c = core();
    const bool data = c.seg.at<ObjectHead>(offset).kind.load() == static_cast<u32>(Kind::data);
    return data ? c.seg.at<Data>(offset).lock : c.seg.at<Lock>(offset).state;
}

void bind_sync(nb::module_& m) {
    const auto none = nb::none();
    nb::class_<PyLock>(m, "Lock", nb::is_weak_referenceable())
        .def(nb::init<bool, u64>(), nb::arg("recursive") = false, nb::arg("offset") = 0)
        .def("acquire", &PyLock::acquire, nb::arg("block") = true, nb::arg("timeout") = none)
        .def("release", &PyLock::release)
        .def("locked", &PyLock::locked)
        .def("recover", &PyLock::recover)
        .def("__enter__", &PyLock::enter)
        .def("__exit__", &PyLock::exit)
        .def_prop_ro("recursive", &PyLock::recursive)
        .def_prop_ro("offset", &PyLock::offset);
    nb::class_<PySemaphore>(m, "Semaphore", nb::is_weak_referenceable())
        .def(nb::init<i64, bool, u64>(), nb::arg("value") = 1, nb::arg("bounded") = false, nb::arg("offset") = 0)
        .def("acquire", &PySemaphore::acquire, nb::arg("block") = true, nb::arg("timeout") = none)
        .def("release", &PySemaphore::release, nb::arg("n") = 1)
        .def("get_value", &PySemaphore::value)
        .def("__enter__", &PySemaphore::enter)
        .def("__exit__", &PySemaphore::exit)
        .def_prop_ro("offset", &PySemaphore::offset);
    nb::class_<PyEvent>(m, "Event", nb::is_weak_referenceable())
        .def(nb::init<u64>(), nb::arg("offset") = 0)
        .def("is_set", &PyEvent::is_set)
        .def("set", &PyEvent::set)
        .def("clear", &PyEvent::clear)
        .def("wait", &PyEvent::wait, nb::arg("timeout") = none)
        .def_prop_ro("offset", &PyEvent::offset);
}

}  // namespace allcores::bindings
