// Small plain objects without a pickler, which costs several times as much for few items: exact built-ins, written one after
// the other, each by a tag; only what fits into the cell of a ring.
//
//     {"id": 7, "name": "x"}    { 2  a 2 i d  i 7........  a 4 n a m e  a 1 x
//
// A container that something else may refer to is left to the pickler, which knows how to send one object that is in two
// places: so is one that contains itself.
#pragma once

#include "core.hpp"

#include <cstring>

namespace allcores::bindings {

inline constexpr int kCompactDepth = 6;

class CompactWriter {
public:
    CompactWriter(char* to, u64 room) : begin_(to), at_(to), end_(to + room) {}

    u64 size() const { return static_cast<u64>(at_ - begin_); }

    // False: it does not fit, or is not plain; what was written so far means nothing.
    bool put(PyObject* o, int depth = 0) {
        PyTypeObject* t = Py_TYPE(o);
        if (o == Py_None) return tag('N');
        if (t == &PyBool_Type) return tag(o == Py_True ? 'T' : 'F');
        if (t == &PyLong_Type) {
            int overflow = 0;
            const i64 v = PyLong_AsLongLongAndOverflow(o, &overflow);
            return overflow == 0 && number('i', v);
        }
        if (t == &PyFloat_Type) return number('d', PyFloat_AS_DOUBLE(o));
        if (t == &PyUnicode_Type) return text(o);
        if (t == &PyBytes_Type) return bytes('y', PyBytes_AS_STRING(o), PyBytes_GET_SIZE(o));
        if (depth == kCompactDepth || (depth > 0 && Py_REFCNT(o) > 1)) return false;
        if (t == &PyTuple_Type || t == &PyList_Type) return items(t == &PyTuple_Type ? '(' : '[', o, depth);
        return t == &PyDict_Type && dict(o, depth);
    }

private:
    bool tag(char c) {
        if (at_ == end_) return false;
        *at_++ = c;
        return true;
    }
    template <class T>
    bool number(char c, T v) {
        if (end_ - at_ < static_cast<Py_ssize_t>(1 + sizeof v)) return false;
        *at_++ = c;
        std::memcpy(at_, &v, sizeof v);
        at_ += sizeof v;
        return true;
    }
    bool count(char c, Py_ssize_t n) {
        if (n > 0xff || end_ - at_ < 2) return false;
        *at_++ = c;
        *at_++ = static_cast<char>(n);
        return true;
    }
    bool bytes(char c, const char* data, Py_ssize_t n) {
        if (end_ - at_ < n + 2 || !count(c, n)) return false;
        std::memcpy(at_, data, static_cast<std::size_t>(n));
        at_ += n;
        return true;
    }
    bool text(PyObject* o) {
        if (PyUnicode_IS_COMPACT_ASCII(o)) {
            return bytes('a', reinterpret_cast<const char*>(PyUnicode_1BYTE_DATA(o)), PyUnicode_GET_LENGTH(o));
        }
        Py_ssize_t n = 0;
        const char* utf8 = PyUnicode_AsUTF8AndSize(o, &n);
        if (utf8 == nullptr) PyErr_Clear();  // lone surrogates: pickle knows them
        return utf8 != nullptr && bytes('u', utf8, n);
    }
    bool items(char c, PyObject* o, int depth) {
        const Py_ssize_t n = PySequence_Fast_GET_SIZE(o);
        if (!count(c, n)) return false;
        PyObject** all = PySequence_Fast_ITEMS(o);
        for (Py_ssize_t i = 0; i < n; ++i) {
            if (!put(all[i], depth + 1)) return false;
        }
        return true;
    }
    bool dict(PyObject* o, int depth) {
        if (!count('{', PyDict_GET_SIZE(o))) return false;
        PyObject *key, *value;
        Py_ssize_t pos = 0;
        while (PyDict_Next(o, &pos, &key, &value) != 0) {
            if (!put(key, depth + 1) || !put(value, depth + 1)) return false;
        }
        return true;
    }

    char *begin_, *at_, *end_;
};

class CompactReader {
public:
    CompactReader(const char* from, u64 size) : at_(from), end_(from + size) {}

    bool at_end() const { return at_ == end_; }

    // A new reference. Null: an error is set, or the bytes are damaged.
    PyObject* get(int depth = 0) {
        const int c = next();
        i64 i;
        double d;
        switch (c) {
            case 'N': return Py_NewRef(Py_None);
            case 'T': return Py_NewRef(Py_True);
            case 'F': return Py_NewRef(Py_False);
            case 'i': return number(i) ? PyLong_FromLongLong(i) : nullptr;
            case 'd': return number(d) ? PyFloat_FromDouble(d) : nullptr;
            default: break;
        }
        const int n = next();
        if (n < 0 || depth > kCompactDepth) return nullptr;
        switch (c) {
            case 'a': return ascii(n);
            case 'u': return bytes(n, [&](const char* p) { return PyUnicode_DecodeUTF8(p, n, nullptr); });
            case 'y': return bytes(n, [&](const char* p) { return PyBytes_FromStringAndSize(p, n); });
            case '(': return items(PyTuple_New(n), n, depth, [](PyObject* t, int k, PyObject* o) { PyTuple_SET_ITEM(t, k, o); });
            case '[': return items(PyList_New(n), n, depth, [](PyObject* l, int k, PyObject* o) { PyList_SET_ITEM(l, k, o); });
            case '{': return dict(n, depth);
            default: return nullptr;
        }
    }

private:
    int next() { return at_ == end_ ? -1 : static_cast<unsigned char>(*at_++); }
    template <class T>
    bool number(T& v) {
        if (end_ - at_ < static_cast<Py_ssize_t>(sizeof v)) return false;
        std::memcpy(&v, at_, sizeof v);
        at_ += sizeof v;
        return true;
    }
    template <class F>
    PyObject* bytes(int n, F&& make) {
        if (end_ - at_ < n) return nullptr;
        at_ += n;
        return make(at_ - n);
    }
    PyObject* ascii(int n) {
        return bytes(n, [&](const char* p) -> PyObject* {
            for (int k = 0; k < n; ++k) {
                if (static_cast<signed char>(p[k]) < 0) return nullptr;  // would not be what it says
            }
            PyObject* made = PyUnicode_New(n, 127);
            if (made != nullptr && n != 0) std::memcpy(PyUnicode_1BYTE_DATA(made), p, static_cast<std::size_t>(n));
            return made;
        });
    }
    template <class Set>
    PyObject* items(PyObject* made, int n, int depth, Set&& set) {
        for (int k = 0; made != nullptr && k < n; ++k) {
            PyObject* item = get(depth + 1);
            if (item == nullptr) Py_CLEAR(made);
            else set(made, k, item);
        }
        return made;
    }
    PyObject* dict(int n, int depth) {
        PyObject* made = PyDict_New();
        for (int k = 0; made != nullptr && k < n; ++k) {
            PyObject* key = get(depth + 1);
            PyObject* value = key != nullptr ? get(depth + 1) : nullptr;
            if (value == nullptr || PyDict_SetItem(made, key, value) != 0) Py_CLEAR(made);
            Py_XDECREF(key);
            Py_XDECREF(value);
        }
        return made;
    }

    const char *at_, *end_;
};

}  // namespace allcores::bindings
