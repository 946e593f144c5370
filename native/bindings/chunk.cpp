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
    if (!star) return nb::steal(PyObject_CallOneArg(func.ptr(), item.ptr()));
    nb::object args = nb::steal(PySequence_Tuple(item.ptr()));
    if (!args.is_valid()) return nb::object();
    return nb::steal(PyObject_CallObject(func.ptr(), args.ptr()));
}

// How long an item ran that failed. A look at the clock costs as much as a small item: there are at most 64 in a chunk, and
// the items between two are taken to have been like those before.
class Stopwatch {
public:
    Stopwatch(Py_ssize_t items, i64 now) : start_(now), stride_(1 + items / 64), left_(stride_), last_(start_) {}

    void begins(Py_ssize_t i) {
        if (--left_ != 0) return;
        stamp(i, now_ns());
    }
    i64 failed(Py_ssize_t i) {
        const i64 now = now_ns();
        const i64 before = at_ == 0 ? 0 : (last_ - start_) / at_ * (i - at_);
        const i64 ran = std::max<i64>(now - last_ - before, 0);
        stamp(i + 1, now);
        return ran;
    }
    void stamp(Py_ssize_t i, i64 now) {
        last_ = now;
        at_ = i;
        left_ = stride_;
    }

private:
    const i64 start_;
    const Py_ssize_t stride_;
    Py_ssize_t left_;
    i64 last_;           // when item at_ began
    Py_ssize_t at_ = 0;
};

// Says which item is running: in this process's record, if it is the record's task.
class Record {
public:
    Record(Participant* me, i64 limit, PyObject* told) : me_(me), limit_(me != nullptr ? limit : 0), told_(told) {}

    bool is_given_up() const {
        return (me_ != nullptr && me_->is_given_up()) || (told_ != nullptr && PyList_GET_SIZE(told_) != 0);
    }
    void begins(Py_ssize_t i, Stopwatch& watch) {
        if (me_ != nullptr) me_->item.store(static_cast<u32>(i), std::memory_order_relaxed);
        if (limit_ != 0) {
            const i64 now = now_ns();
            watch.stamp(i, now);
            begin_timed(*me_, now, limit_);
        } else {
            watch.begins(i);
        }
        STEP("task.item_begun");
    }
    void ended() {
        if (limit_ != 0) end_timed(*me_);
    }
    void answers(Py_ssize_t items) {
        if (me_ != nullptr) {
            me_->item.store(kAnswering, std::memory_order_relaxed);
            add(me_->done.items, static_cast<u64>(items) - 1);  // its answer counts one
        }
        STEP("task.computed");
    }

private:
    static constexpr u32 kAnswering = 0xffffffff;
    Participant* const me_;
    const i64 limit_;
    PyObject* const told_;  // a list, where others of this process say by it what they otherwise would by the record
};

// (results, [(index, error, nanoseconds), ...], nanoseconds). A failed item has None among the results. With `record` this
// process's record says which item is running, and `limit` is how many nanoseconds one may. With `stop` the first error is the
// last result; with `patience` so is that of the item that was running when so many nanoseconds were over, and a tick of the
// coarse clock at most. `told`: a list; as soon as something is in it, no other item is begun.
nb::tuple run_chunk(nb::handle func, nb::handle items, bool star, bool record, bool stop, i64 patience, i64 limit,
                    nb::object told) {
    Core& c = bare_core();
    Record at(record && c.seg.me != 0 ? &c.seg.participant(c.seg.me) : nullptr, limit,
              PyList_Check(told.ptr()) ? told.ptr() : nullptr);
    nb::object fast = nb::steal(PySequence_Fast(items.ptr(), "a chunk is a sequence"));
    if (!fast.is_valid()) throw nb::python_error();
    const Py_ssize_t n = PySequence_Fast_GET_SIZE(fast.ptr());
    nb::object results = nb::steal(PyList_New(n));
    if (!results.is_valid()) throw nb::python_error();
    nb::list errors;
    const i64 start = now_ns();
    Stopwatch watch(n, start);
    bool given_up = false;
    for (Py_ssize_t i = 0; i < n; ++i) {
        given_up = given_up || at.is_given_up();
        if (given_up) {  // nobody will look at the rest
            PyList_SET_ITEM(results.ptr(), i, nb::none().release().ptr());
            continue;
        }
        at.begins(i, watch);
        nb::object result = call(func, PySequence_Fast_GET_ITEM(fast.ptr(), i), star);
        at.ended();
        const bool failed = !result.is_valid();
        if (failed) {
            nb::object error = take_error();
            errors.append(nb::make_tuple(i, error, watch.failed(i)));
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
    at.answers(PyList_GET_SIZE(results.ptr()));
    return nb::make_tuple(results, errors, spent);
}

}  // namespace

void bind_chunk(nb::module_& m) {
    m.def("run_chunk", &run_chunk, nb::arg("func"), nb::arg("items"), nb::arg("star"), nb::arg("record"),
          nb::arg("stop") = false, nb::arg("patience") = 0, nb::arg("limit") = 0, nb::arg("told") = nb::none());
}

}  // namespace allcores::bindings
