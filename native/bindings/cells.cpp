#include "cells.hpp"

namespace allcores::bindings {

namespace {

template <class T>
PyObject* get_int(const void* at) {
    const T v = __atomic_load_n(static_cast<const T*>(at), __ATOMIC_ACQUIRE);
    if constexpr (std::is_signed_v<T>) return PyLong_FromLongLong(v);
    else return PyLong_FromUnsignedLongLong(v);
}

bool wrong_type(char code, const char* need, PyObject* value) {
    PyErr_Format(PyExc_TypeError, "type code '%c' needs %s, not %R (%s); %s", code, need, value, Py_TYPE(value)->tp_name,
                 kCodeTable);
    return false;
}

template <class T>
bool out_of_range(char code, PyObject* value) {
    if constexpr (std::is_signed_v<T>) {
        PyErr_Format(PyExc_OverflowError, "%R does not fit type code '%c', which holds %lld to %lld; %s", value, code,
                     static_cast<long long>(std::numeric_limits<T>::min()),
                     static_cast<long long>(std::numeric_limits<T>::max()), kCodeTable);
    } else {
        PyErr_Format(PyExc_OverflowError, "%R does not fit type code '%c', which holds 0 to %llu; %s", value, code,
                     static_cast<unsigned long long>(std::numeric_limits<T>::max()), kCodeTable);
    }
    return false;
}

template <class T, char C>
bool to_int(PyObject* value, T& out) {
    nb::object number = nb::steal(PyNumber_Index(value));
    if (!number.is_valid()) {
        PyErr_Clear();
        return wrong_type(C, "an int", value);
    }
    if constexpr (std::is_signed_v<T>) {
        int overflow = 0;
        const long long v = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
        if (overflow != 0 || v < std::numeric_limits<T>::min() || v > std::numeric_limits<T>::max())
            return out_of_range<T>(C, value);
        out = static_cast<T>(v);
    } else {
        const unsigned long long v = PyLong_AsUnsignedLongLong(number.ptr());
        if (v == static_cast<unsigned long long>(-1) && PyErr_Occurred() != nullptr) {
            PyErr_Clear();
            return out_of_range<T>(C, value);
        }
        if (v > std::numeric_limits<T>::max()) return out_of_range<T>(C, value);
        out = static_cast<T>(v);
    }
    return true;
}

template <class T, char C>
bool set_int(void* at, PyObject* value) {
    T v;
    if (!to_int<T, C>(value, v)) return false;
    __atomic_store_n(static_cast<T*>(at), v, __ATOMIC_RELEASE);
    return true;
}

// Refuses a sum that does not fit, instead of wrapping round in silence.
template <class T, char C>
PyObject* add_int(void* at, PyObject* value) {
    nb::object number = nb::steal(PyNumber_Index(value));
    if (!number.is_valid()) {
        PyErr_Clear();
        wrong_type(C, "an int", value);
        return nullptr;
    }
    int overflow = 0;
    const long long by = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
    T* p = static_cast<T*>(at);
    T old = __atomic_load_n(p, __ATOMIC_RELAXED);
    T sum;
    do {
        if (overflow != 0 || __builtin_add_overflow(old, by, &sum)) {
            nb::object wanted = nb::steal(get_int<T>(&old)) + number;
            out_of_range<T>(C, wanted.ptr());
            return nullptr;
        }
    } while (!__atomic_compare_exchange_n(p, &old, sum, true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
    return get_int<T>(&sum);
}

template <class T>
using Bits = std::conditional_t<sizeof(T) == 4, u32, u64>;

template <class T>
PyObject* get_real(const void* at) {
    const Bits<T> raw = __atomic_load_n(static_cast<const Bits<T>*>(at), __ATOMIC_ACQUIRE);
    return PyFloat_FromDouble(std::bit_cast<T>(raw));
}

template <char C>
bool to_real(PyObject* value, double& out) {
    out = PyFloat_AsDouble(value);
    if (out != -1.0 || PyErr_Occurred() == nullptr) return true;
    PyErr_Clear();
    return wrong_type(C, "a float", value);
}

template <class T, char C>
bool set_real(void* at, PyObject* value) {
    double v;
    if (!to_real<C>(value, v)) return false;
    __atomic_store_n(static_cast<Bits<T>*>(at), std::bit_cast<Bits<T>>(static_cast<T>(v)), __ATOMIC_RELEASE);
    return true;
}

template <class T, char C>
PyObject* add_real(void* at, PyObject* value) {
    double by;
    if (!to_real<C>(value, by)) return nullptr;
    auto* p = static_cast<Bits<T>*>(at);
    Bits<T> old = __atomic_load_n(p, __ATOMIC_RELAXED);
    T sum;
    do {
        sum = static_cast<T>(static_cast<double>(std::bit_cast<T>(old)) + by);
    } while (!__atomic_compare_exchange_n(p, &old, std::bit_cast<Bits<T>>(sum), true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
    return PyFloat_FromDouble(static_cast<double>(sum));
}

PyObject* get_char(const void* at) { return PyBytes_FromStringAndSize(static_cast<const char*>(at), 1); }
bool set_char(void* at, PyObject* value) {
    if (PyBytes_Check(value) && PyBytes_GET_SIZE(value) == 1) {
        *static_cast<char*>(at) = PyBytes_AS_STRING(value)[0];
        return true;
    }
    return wrong_type('c', "one byte such as b'x'", value);
}

PyObject* get_wchar(const void* at) {
    const Py_UCS4 c = __atomic_load_n(static_cast<const Py_UCS4*>(at), __ATOMIC_ACQUIRE);
    return PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, &c, 1);
}
bool set_wchar(void* at, PyObject* value) {
    if (PyUnicode_Check(value) && PyUnicode_GetLength(value) == 1) {
        __atomic_store_n(static_cast<Py_UCS4*>(at), PyUnicode_ReadChar(value, 0), __ATOMIC_RELEASE);
        return true;
    }
    return wrong_type('u', "one character such as 'x'", value);
}

PyObject* get_bool(const void* at) { return PyBool_FromLong(*static_cast<const u8*>(at)); }
bool set_bool(void* at, PyObject* value) {
    const int truth = PyObject_IsTrue(value);
    if (truth < 0) return false;
    __atomic_store_n(static_cast<u8*>(at), static_cast<u8>(truth), __ATOMIC_RELEASE);
    return true;
}

PyObject* cannot_add(void*, PyObject*) {
    PyErr_SetString(PyExc_TypeError, "only numbers can be added to: this holds characters or truth values");
    return nullptr;
}

template <class T, char C>
constexpr Code integer(const char* format) {
    return {C, sizeof(T), format, &get_int<T>, &set_int<T, C>, &add_int<T, C>};
}

constexpr Code kCodes[] = {
    integer<signed char, 'b'>("b"),
    integer<unsigned char, 'B'>("B"),
    integer<short, 'h'>("h"),
    integer<unsigned short, 'H'>("H"),
    integer<int, 'i'>("i"),
    integer<unsigned int, 'I'>("I"),
    integer<long, 'l'>("l"),
    integer<unsigned long, 'L'>("L"),
    integer<long long, 'q'>("q"),
    integer<unsigned long long, 'Q'>("Q"),
    {'f', 4, "f", &get_real<float>, &set_real<float, 'f'>, &add_real<float, 'f'>},
    {'d', 8, "d", &get_real<double>, &set_real<double, 'd'>, &add_real<double, 'd'>},
    {'c', 1, "c", &get_char, &set_char, &cannot_add},
    {'u', 4, "w", &get_wchar, &set_wchar, &cannot_add},
    {'?', 1, "?", &get_bool, &set_bool, &cannot_add},
};

}  // namespace

const Code& code_for(char code) {
    for (const Code& c : kCodes) {
        if (c.code == code) return c;
    }
    PyErr_Format(PyExc_TypeError, "unknown type code '%c'; %s", code, kCodeTable);
    throw nb::python_error();
}

}  // namespace allcores::bindings
