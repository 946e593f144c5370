// The element types of Value and Array: how each code of the standard table is read, written and added to.
#pragma once

#include <limits>
#include <type_traits>

#include "core.hpp"

namespace allcores::bindings {

// One type code. Functions take the address of the element; set and add return false with a Python error set.
struct Code {
    char code;
    u32 bytes;
    const char* format;  // for the buffer protocol
    PyObject* (*get)(const void* at);
    bool (*set)(void* at, PyObject* value);
    PyObject* (*add)(void* at, PyObject* value);  // atomic; returns the new value
};

// The code, or an error that lists them all.
const Code& code_for(char code);

inline constexpr const char* kCodeTable =
    "the type codes are c char, b/B signed/unsigned byte, u wchar, h/H short, i/I int, l/L long, q/Q long long, "
    "f float, d double, ? bool";

}  // namespace allcores::bindings
