// Semaphore, BoundedSemaphore and Event for Python.
#include "core.hpp"

namespace allcores::bindings {

namespace {

class PySemaphore {
public:
    PySemaphore(i64 value, u64 offset) : held_(offset != 0 ? checked(offset) : make(value)) {}

    bool acquire(bool block, nb::handle timeout) {
        Semaphore& s = state();
        return wait_python(s.parking, deadline_for(block, timeout), [&] { return try_acquire(s); },
                           [&] { return s.value.load() > 0; });
    }
    void release(i64 n) {
        if (n < 1) raise_python(PyExc_ValueError, "n must be at least 1: release(n) gives back n permits");
        if (!allcores::release(core().seg, state(), n)) raise_python(PyExc_OverflowError, "a semaphore counts to 2**63 - 1");
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
    static u64 make(i64 value) {
        if (value < 0) raise_python(PyExc_ValueError, "value must be 0 or more: it is how many may enter");
        Semaphore& s = make_object<Semaphore>(Kind::semaphore);
        s.value.store(value);
        return core().seg.offset_of(&s);
    }
    Semaphore& state() const { return core().seg.at<Semaphore>(held_.offset()); }

    Held held_;
};

class PyBoundedSemaphore {
public:
    PyBoundedSemaphore(i64 value, u64 offset) : held_(offset != 0 ? checked(offset) : make(value)) {}

    bool acquire(bool block, nb::handle timeout) {
        auto v = view();
        return wait_python(state().parking, deadline_for(block, timeout), [&] { return v.try_acquire(); },
                           [&] { return v.value() > 0; });
    }
    void release(i64 n) {
        if (n < 1) raise_python(PyExc_ValueError, "n must be at least 1: release(n) gives back n permits");
        // All or none; one alone finds out by itself.
        if (n > 1 && n > static_cast<i64>(state().permits) - value()) raise_python(PyExc_ValueError, "semaphore released more often than it was acquired");
        for (auto v = view(); n > 0 && (v.release() || v.was_returned());) --n;
        if (n > 0) raise_python(PyExc_ValueError, "semaphore released more often than it was acquired");
    }
    bool enter() { return acquire(true, nb::none()); }
    void exit(nb::args) { release(1); }
    i64 value() const { return view().value(); }
    u64 offset() const { return held_.offset(); }

private:
    static u64 checked(u64 offset) {
        check_kind(offset, Kind::bounded_semaphore, Kind::bounded_semaphore);
        return offset;
    }
    static u64 make(i64 value) {
        constexpr i64 kMost = 1 << 20;  // each has a word
        if (value < 0) raise_python(PyExc_ValueError, "value must be 0 or more: it is how many may enter");
        if (value > kMost) raise_python(PyExc_ValueError, "value must be at most 1048576: it is how many may enter");
        const u64 permits = static_cast<u64>(value);
        BoundedSemaphore& s = make_object<BoundedSemaphore>(Kind::bounded_semaphore, BoundedSemaphore::bytes_for(permits));
        s.permits = permits;
        return core().seg.offset_of(&s);
    }
    BoundedSemaphore& state() const { return core().seg.at<BoundedSemaphore>(held_.offset()); }
    BoundedSemaphoreView view() const { return {core().seg, state()}; }

    Held held_;
};

class PyEvent {
public:
    explicit PyEvent(u64 offset) : held_(offset != 0 ? checked(offset) : make()) {}

    bool is_set() const { return state().is_set.load() != 0; }
    void set() { allcores::set(core().seg, state()); }
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

template <class T>
void bind_semaphore(nb::module_& m, const char* name) {
    nb::class_<T>(m, name, nb::is_weak_referenceable())
        .def(nb::init<i64, u64>(), nb::arg("value") = 1, nb::arg("offset") = 0)
        .def("acquire", &T::acquire, nb::arg("block") = true, nb::arg("timeout") = nb::none())
        .def("release", &T::release, nb::arg("n") = 1)
        .def("get_value", &T::value)
        .def("__enter__", &T::enter)
        .def("__exit__", &T::exit)
        .def_prop_ro("offset", &T::offset);
}

}  // namespace

void bind_sync(nb::module_& m) {
    bind_semaphore<PySemaphore>(m, "Semaphore");
    bind_semaphore<PyBoundedSemaphore>(m, "BoundedSemaphore");
    nb::class_<PyEvent>(m, "Event", nb::is_weak_referenceable())
        .def(nb::init<u64>(), nb::arg("offset") = 0)
        .def("is_set", &PyEvent::is_set)
        .def("set", &PyEvent::set)
        .def("clear", &PyEvent::clear)
        .def("wait", &PyEvent::wait, nb::arg("timeout") = nb::none())
        .def_prop_ro("offset", &PyEvent::offset);
}

}  // namespace allcores::bindings
