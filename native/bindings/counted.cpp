#include "counted.hpp"

namespace allcores::bindings {

namespace {

PyObject* consumer_died = nullptr;

// f() inside; it runs no Python. False: somebody has been stopped in there. The lock is never kept while this thread waits for the
// GIL, which may be with one that computes.
template <class F>
bool inside(CountedView& v, bool has_gil, F&& f) {
    if (v.try_enter()) {
        f();
        v.leave();
        return true;
    }
    const auto patiently = [&] {
        if (!v.enter()) return false;
        f();
        v.leave();
        return true;
    };
    return has_gil ? without_gil(patiently) : patiently();
}

// For what must be done, however long it takes.
template <class F>
void surely_inside(CountedView& v, F&& f) {
    while (!inside(v, true, f)) {
        if (PyErr_CheckSignals() != 0) throw nb::python_error();
    }
}

// As wait_python does; look() says without the lock whether it may be worth going inside, where attempt() is made.
template <class Look, class Attempt, class More>
bool wait_inside(CountedView& v, Parking& parking, i64 deadline, Look&& look, Attempt&& attempt, More&& more) {
    bool has_gil = true;  // in the first attempt
    return wait_python(parking, deadline, [&] {
        const bool gil = std::exchange(has_gil, false);
        bool done = false;
        return look() && inside(v, gil, [&] { done = attempt(); }) && done;
    }, more);
}

// (pid, name, items) of those who died with items in their hands.
nb::list lost_by_whom(CountedView& v) {
    nb::list consumers;
    v.ledger().for_each_lost([&](Hands& h) {
        char name[33];
        h.name.get(name);
        nb::object text = nb::steal(PyUnicode_DecodeUTF8(name, static_cast<Py_ssize_t>(std::strlen(name)), "ignore"));
        if (!text.is_valid()) throw nb::python_error();
        consumers.append(nb::make_tuple(static_cast<u32>(h.who.load() >> 32), text, h.items.load()));
    });
    return consumers;
}

[[noreturn]] void raise_consumer_died(const nb::list& consumers) {
    nb::handle type(python_name(consumer_died, "allcores.errors", "ConsumerDied"));
    PyErr_SetObject(type.ptr(), type(consumers).ptr());
    throw nb::python_error();
}

}  // namespace

u64 bytes_of(const Message& m) {
    u64 bytes = m.size;
    if (m.root != 0) {
        Root& root = root_of(core().arena, m.root);
        bytes = root.pickle_bytes;
        for (u32 i = 0; i < root.buffers; ++i) bytes += root.buffer()[i].bytes;
    }
    return std::max<u64>(bytes, 1);
}

void weigh(Message& m) { m.a = bytes_of(m); }

bool wait_to_put(CountedView v, Channel& c, const Message& m, i64 deadline, Sent& sent) {
    return wait_inside(v, c.room, deadline, [&] { return v.may_put(m); },
                       [&] { return (sent = v.try_put(m)) != Sent::full; }, [] { return false; });
}

bool wait_to_take(CountedView v, Channel& c, Message& m, i64 deadline) {
    return wait_inside(v, c.items, deadline, [&] { return v.may_take(); }, [&] { return v.try_take(m); },
                       [&] { return v.may_take(); });
}

void task_done(CountedView v) {
    bool was_unfinished = false;
    surely_inside(v, [&] { was_unfinished = v.task_done(); });
    if (!was_unfinished) raise_python(PyExc_ValueError, "task_done() called too many times");
}

void join(CountedView v, Channel& c) {
    for (;;) {
        bool finished = false;
        const auto look_closely = [&] { return (finished = v.is_finished()) || v.ledger().lost() != 0; };
        wait_inside(v, c.ledger().finished, kNever, [&] { return v.may_end_join(); }, look_closely, [] { return false; });
        if (finished) return;
        const nb::list consumers = lost_by_whom(v);
        if (nb::len(consumers) != 0) raise_consumer_died(consumers);  // else somebody has called recover() just now
    }
}

u64 recover_items(CountedView v) {
    u64 n = 0;
    surely_inside(v, [&] { n = v.recover(); });
    return n;
}

void mend(CountedView v) {
    if (v.ledger().is_left_dirty()) surely_inside(v, [] {});
}

nb::tuple count(CountedView v, Channel& c) {
    mend(v);
    Ledger& l = c.ledger();
    return nb::make_tuple(l.bytes.load(), l.unfinished.load(), v.ledger().in_hands(), v.ledger().lost());
}

}  // namespace allcores::bindings
