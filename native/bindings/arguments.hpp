// Arguments of the methods that the interpreter calls itself (METH_FASTCALL | METH_KEYWORDS): a binding's own way to read them
// costs as much as the operation.
#pragma once

#include "core.hpp"

namespace allcores::bindings {

// What a wait is told, as the standard has it, after one object where there is one: (obj, block=True, timeout=None).
struct WaitArguments {
    PyObject* object = nullptr;
    PyObject* block = Py_True;
    PyObject* timeout = Py_None;

    // False with a TypeError set.
    bool read(const char* method, bool with_object, PyObject* const* args, Py_ssize_t n, PyObject* names) {
        PyObject** const all[] = {&object, &block, &timeout};
        static constexpr const char* kNames[] = {"obj", "block", "timeout"};
        const Py_ssize_t first = with_object ? 0 : 1, named = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
        if (n + first > 3) return refuse(method, with_object, nullptr);
        for (Py_ssize_t i = 0; i < n; ++i) *all[first + i] = args[i];
        for (Py_ssize_t k = 0; k < named; ++k) {
            PyObject* name = PyTuple_GET_ITEM(names, k);
            Py_ssize_t i = first + n;
            while (i < 3 && PyUnicode_CompareWithASCIIString(name, kNames[i]) != 0) ++i;
            if (i == 3) return refuse(method, with_object, name);
            *all[i] = args[n + k];
        }
        return !with_object || object != nullptr || refuse(method, with_object, nullptr);
    }

    // The deadline; throws what a timeout that is no number raises.
    i64 deadline() const {
        const int blocks = block == Py_True ? 1 : PyObject_IsTrue(block);
        if (blocks < 0) throw nb::python_error();
        return deadline_for(blocks != 0, timeout);
    }

private:
    static bool refuse(const char* method, bool with_object, PyObject* name) {
        const char* takes = with_object ? "obj, block=True, timeout=None" : "block=True, timeout=None";
        if (name != nullptr) {
            PyErr_Format(PyExc_TypeError, "%s() takes (%s), each once, and got %R", method, takes, name);
        } else {
            PyErr_Format(PyExc_TypeError, "%s() takes (%s)", method, takes);
        }
        return false;
    }
};

template <class F>
PyCFunction as_method(F* f) {
    return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(f));
}

}  // namespace allcores::bindings
