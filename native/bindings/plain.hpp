// What an object needs to travel, seen from its types alone.
#pragma once

#include "core.hpp"

#include <cstring>

namespace allcores::bindings {

// Longer bytes inside an object are not to be copied into a pickle first: the codec's pickler hands them on as they are.
inline constexpr Py_ssize_t kLongBytes = 64 << 10;

// Nothing in it can need more than the C pickler: exact built-in types all the way down, not too deep.
inline bool is_plain(PyObject* o, int depth) {
    PyTypeObject* t = Py_TYPE(o);
    if (t == &PyBytes_Type && PyBytes_GET_SIZE(o) >= kLongBytes) return false;
    if (t == &PyLong_Type || t == &PyFloat_Type || t == &PyUnicode_Type || t == &PyBytes_Type || t == &PyBool_Type ||
        o == Py_None || t == &PyComplex_Type)
        return true;
    if (depth == 0) return false;
    if (t == &PyTuple_Type || t == &PyList_Type) {
        const Py_ssize_t n = PySequence_Fast_GET_SIZE(o);
        PyObject** items = PySequence_Fast_ITEMS(o);
        for (Py_ssize_t i = 0; i < n; ++i) {
            if (!is_plain(items[i], depth - 1)) return false;
        }
        return true;
    }
    if (t == &PyDict_Type) {
        PyObject *key, *value;
        Py_ssize_t pos = 0;
        while (PyDict_Next(o, &pos, &key, &value) != 0) {
            if (!is_plain(key, depth - 1) || !is_plain(value, depth - 1)) return false;
        }
        return true;
    }
    return false;
}

inline bool is_array(PyObject* o) {
    static PyTypeObject* known = nullptr;
    PyTypeObject* t = Py_TYPE(o);
    if (t == known) return true;
    if (std::strcmp(t->tp_name, "numpy.ndarray") != 0) return false;
    known = t;
    return true;
}

// An array, or a tuple or list that has some among plain things.
inline bool has_arrays(PyObject* o) {
    if (is_array(o)) return true;
    if (Py_TYPE(o) != &PyTuple_Type && Py_TYPE(o) != &PyList_Type) return false;
    const Py_ssize_t n = PySequence_Fast_GET_SIZE(o);
    PyObject** items = PySequence_Fast_ITEMS(o);
    bool some = false;
    for (Py_ssize_t i = 0; i < n; ++i) {
        if (is_array(items[i])) some = true;
        else if (!is_plain(items[i], 5)) return false;
    }
    return some;
}

}  // namespace allcores::bindings
