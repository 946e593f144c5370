// The bytes of ctypes Structures in shared memory: read and written in places, each under the lock.
//
// What is one store of the machine holds the lock as kAtomicUpdate: dying in it leaves nothing half done. What is more (a row of
// characters, a whole Structure, a field that is not aligned) may be left half written, and its death poisons the lock.
#include "data.hpp"

namespace allcores::bindings {

namespace {

// Whether the machine reads and writes so many bytes there at once.
bool is_one_store(const void* at, u64 n) {
    return (n == 1 || n == 2 || n == 4 || n == 8) && reinterpret_cast<std::uintptr_t>(at) % n == 0;
}

// f(T*) with the type that is n bytes wide.
template <class F>
void with_width(void* at, u64 n, F&& f) {
    if (n == 1) f(static_cast<u8*>(at));
    if (n == 2) f(static_cast<u16*>(at));
    if (n == 4) f(static_cast<u32*>(at));
    if (n == 8) f(static_cast<u64*>(at));
}

template <class T>
T read_as(const char* from) {
    T v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

void store_once(void* at, const char* from, u64 n) {
    with_width(at, n, [&]<class T>(T* p) { __atomic_store_n(p, read_as<T>(from), __ATOMIC_RELEASE); });
}

// Bit fields share their bytes with others, which another process may set at the same time where there is no lock.
void store_bits_once(void* at, const char* mask, const char* bits, u64 n) {
    with_width(at, n, [&]<class T>(T* p) {
        const T m = read_as<T>(mask), b = read_as<T>(bits);
        T old = __atomic_load_n(p, __ATOMIC_RELAXED);
        while (!__atomic_compare_exchange_n(p, &old, static_cast<T>((old & ~m) | (b & m)), true, __ATOMIC_RELEASE,
                                            __ATOMIC_RELAXED)) {
        }
    });
}

void store_parts(char* at, const char* from, u64 n) {
    std::memcpy(at, from, n / 2);
    STEP("store.half_done");
    std::memcpy(at + n / 2, from + n / 2, n - n / 2);
}

class PyFields : public PyData {
public:
    using PyData::PyData;

    nb::object get(u64 at, char type) {
        const Code& c = code_for(type);
        const char* p = place(at, c.bytes);
        alignas(8) char copy[8];
        PyObject* value = guarded([&] {
            if (is_one_store(p, c.bytes)) return c.get(p);
            std::memcpy(copy, p, c.bytes);
            return c.get(copy);
        });
        if (value == nullptr) throw nb::python_error();
        return nb::steal(value);
    }

    // The value is converted before the lock is taken: an __index__ of the user's runs without it.
    void set(u64 at, char type, nb::handle value) {
        const Code& c = code_for(type);
        alignas(8) char staged[8];
        if (!c.set(staged, value.ptr())) throw nb::python_error();
        write(place(at, c.bytes), staged, c.bytes);
    }

    nb::bytes load(u64 at, u64 n) {
        const char* p = place(at, n);
        nb::bytes made = nb::steal<nb::bytes>(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(n)));
        if (!made.is_valid()) throw nb::python_error();
        guarded([&] { std::memcpy(PyBytes_AS_STRING(made.ptr()), p, n); });
        return made;
    }

    // The data goes there in pieces of `size` bytes, each `stride` bytes after the one before.
    void store(u64 at, const nb::bytes& data, u64 size, i64 stride) {
        const u64 pieces = size == 0 ? 0 : data.size() / size;
        if (pieces == 0) return;
        place(at, size);
        char* first = place(at + (pieces - 1) * static_cast<u64>(stride), size) - static_cast<i64>(pieces - 1) * stride;
        if (static_cast<i64>(size) == stride || pieces == 1) return write(first, data.c_str(), pieces * size);
        guarded([&] {
            for (u64 k = 0; k < pieces; ++k)
                store_parts(first + static_cast<i64>(k) * stride, data.c_str() + k * size, size);
        }, 0);
    }

    // Only the bits that the mask has.
    void store_bits(u64 at, const nb::bytes& mask, const nb::bytes& bits) {
        const u64 n = mask.size();
        char* p = place(at, n);
        if (bits.size() != n) raise_python(PyExc_ValueError, "as many bytes of bits as of mask");
        if (is_one_store(p, n)) return guarded([&] { store_bits_once(p, mask.c_str(), bits.c_str(), n); });
        guarded([&] {
            for (u64 i = 0; i < n; ++i) store_bits_once(p + i, mask.c_str() + i, bits.c_str() + i, 1);
        }, 0);
    }

private:
    char* place(u64 at, u64 n) const {
        if (at > length() || n > length() - at) raise_python(PyExc_IndexError, "outside of this shared memory");
        return static_cast<char*>(element(at));
    }

    void write(char* p, const char* from, u64 n) {
        if (is_one_store(p, n)) return guarded([&] { store_once(p, from, n); });
        guarded([&] { store_parts(p, from, n); }, 0);
    }
};

// What has a type that only Python knows: `_typed()` gives an object with it, `_memory` has the bytes alone.
struct Exporter {};

int export_buffer(PyObject* self, Py_buffer* view, int flags) {
    return as_slot([&] {
        const bool typed = (flags & PyBUF_FORMAT) != 0;
        nb::object from = typed ? nb::handle(self).attr("_typed")() : nb::object(nb::handle(self).attr("_memory"));
        return PyObject_GetBuffer(from.ptr(), view, flags);
    }, -1);
}

PyType_Slot fields_slots[] = {{Py_bf_getbuffer, slot(buffer_of<PyFields>)},
                              {Py_bf_releasebuffer, slot(release_buffer)},
                              {0, nullptr}};
PyType_Slot exporter_slots[] = {{Py_bf_getbuffer, slot(export_buffer)}, {0, nullptr}};

}  // namespace

void bind_fields(nb::module_& m) {
    nb::class_<PyFields>(m, "Fields", nb::type_slots(fields_slots), nb::is_weak_referenceable())
        .def(nb::init<char, u64, u64, i64>(), nb::arg("code"), nb::arg("n"), nb::arg("offset"), nb::arg("guard"))
        .def("get", &PyFields::get)
        .def("set", &PyFields::set)
        .def("load", &PyFields::load)
        .def("store", &PyFields::store)
        .def("store_bits", &PyFields::store_bits)
        .def_prop_ro("offset", &PyFields::offset);
    nb::class_<Exporter>(m, "Exporter", nb::type_slots(exporter_slots), nb::is_weak_referenceable()).def(nb::init<>());
}

}  // namespace allcores::bindings
