// A pool worker's inner loop: one chunk of calls, with a record in shared memory of which item is running, so that a
// death in the middle names its item. Written here because a store per item is free in C++ and 30 ns from Python.
#include "workers.hpp"

#include <algorithm>

namespace allcores::bindings {

namespace {

// The pending error, with its traceback.
nb::object take_error() {
#if PY_VERSION_HEX >= 0x030c0000
    return nb::steal(PyErr_GetRaisedException());
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != nullptr) PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return nb::steal(value);
#endif
}

nb::object call(nb::handle func, nb::handle item, bool star) {
    if (!star) return nb::steal(in_python([&] { return PyObject_CallOneArg(func.ptr(), item.ptr()); }));
    nb::object args = nb::steal(in_python([&] { return PySequence_Tuple(item.ptr()); }));
    if (!args.is_valid()) return nb::object();
    return nb::steal(in_python([&] { return PyObject_CallObject(func.ptr(), args.ptr()); }));
}

// When an item began, for how long one ran that failed. A look at the clock costs as much as a small item: there are at most 64
// in a chunk, and the items between two are taken to have been like those before. By value: the loop keeps it in registers.
struct Stamp {
    Py_ssize_t at;  // an item
    i64 when;       // it began

    i64 ran(Py_ssize_t i, i64 start, i64 now) const {
        const i64 before = at == 0 ? 0 : (when - start) / at * (i - at);
        return std::max<i64>(now - when - before, 0);
    }
};

constexpr u32 kAnswering = 0xffffffff;

// (results, [(index, error, nanoseconds), ...], nanoseconds). A failed item has None among the results. With `record` this
// process's record says which item is running, and `limit` is how many nanoseconds one may. With `stop` the first error is the
// last result; with `patience` so is that of the item that was running when so many nanoseconds were over, and a tick of the
// coarse clock at most. `told`: a list; as soon as something is in it, no other item is begun.
nb::tuple run_chunk(nb::handle func, nb::handle items, bool star, bool record, bool stop, i64 patience, i64 limit,
                    nb::object told) {
    Core& c = bare_core();
    Participant* const me = record && c.seg.me != 0 ? &c.seg.participant(c.seg.me) : nullptr;
    PyObject* const list = PyList_Check(told.ptr()) ? told.ptr() : nullptr;
    const bool timed = me != nullptr && limit != 0;
    nb::object fast = nb::steal(PySequence_Fast(items.ptr(), "a chunk is a sequence"));
    if (!fast.is_valid()) throw nb::python_error();
    const Py_ssize_t n = PySequence_Fast_GET_SIZE(fast.ptr());
    nb::object results = nb::steal(PyList_New(n));
    if (!results.is_valid()) throw nb::python_error();
    nb::list errors;
    const i64 start = now_ns();
    const Py_ssize_t stride = timed ? 1 : 1 + n / 64;
    Stamp last{0, start};
    Py_ssize_t next = stride;
    bool given_up = false;
    for (Py_ssize_t i = 0; i < n; ++i) {
        given_up = given_up || (me != nullptr && me->is_given_up()) || (list != nullptr && PyList_GET_SIZE(list) != 0);
        if (given_up) {  // nobody will look at the rest
            PyList_SET_ITEM(results.ptr(), i, nb::none().release().ptr());
            continue;
        }
        if (i == next) {
            last = {i, now_ns()};
            next = i + stride;
        }
        if (me != nullptr) me->item.store(static_cast<u32>(i), std::memory_order_relaxed);
        if (timed) begin_timed(*me, last.when, limit);
        STEP("task.item_begun");
        nb::object result = call(func, PySequence_Fast_GET_ITEM(fast.ptr(), i), star);
        if (timed) end_timed(*me);
        const bool failed = !result.is_valid();
        if (failed) {
            nb::object error = take_error();
            const i64 now = now_ns();
            errors.append(nb::make_tuple(i, error, last.ran(i, start, now)));
            last = {i + 1, now};
            result = nb::none();
        }
        PyList_SET_ITEM(results.ptr(), i, result.release().ptr());
        const bool late = patience != 0 && coarse_now_ns() - start > patience;
        if ((failed && stop) || late) {
            if (PyList_SetSlice(results.ptr(), i + 1, n, nullptr) != 0) throw nb::python_error();
            break;
        }
    }
    const i64 spent = now_ns() - start;
    if (me != nullptr) {
        me->item.store(kAnswering, std::memory_order_relaxed);
        add(me->done.items, static_cast<u64>(PyList_GET_SIZE(results.ptr())) - 1);  // its answer counts one
    }
    STEP("task.computed");
    return nb::make_tuple(results, errors, spent);
}

}  // namespace

void bind_chunk(nb::module_& m) {
    m.def("run_chunk", &run_chunk, nb::arg("func"), nb::arg("items"), nb::arg("star"), nb::arg("record"),
          nb::arg("stop") = false, nb::arg("patience") = 0, nb::arg("limit") = 0, nb::arg("told") = nb::none());
}

}  // namespace allcores::bindings
