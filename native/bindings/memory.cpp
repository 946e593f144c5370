// Plain bytes in the segment: what lies under a SharedArray. And private copies of them that cost nothing until they are
// written to.
#include "received.hpp"

#include <nanobind/stl/vector.h>

#include <sys/mman.h>

#include <limits>

namespace allcores::bindings {

namespace {

u64 make_memory(u64 bytes, bool zeroed) {
    Core& c = core();
    if (bytes > std::numeric_limits<u64>::max() - sizeof(Data)) raise_no_memory(bytes);
    const BlockId block = without_gil_from(bytes, [&] { return c.arena.take(sizeof(Data) + bytes); });
    if (block == 0) raise_no_memory(sizeof(Data) + bytes);
    const bool zeros = c.arena.untouched(block);
    Data& d = *reinterpret_cast<Data*>(c.arena.data(block));
    std::memset(static_cast<void*>(&d), 0, sizeof(Data));
    d.bytes = bytes;
    d.lock.recursive = 1;
    name_lock(d.lock);
    become_object(c.seg, c.arena, d.object, block, Kind::data);
    if (zeroed && !zeros && bytes != 0) without_gil([&] { return std::memset(d.data(), 0, bytes); });
    return c.seg.offset_of(&d);
}

u64 checked(u64 offset, u64 bytes) {
    check_kind(offset, Kind::data, Kind::data);
    const u64 there = core().seg.at<Data>(offset).bytes;
    if (bytes > there) raise_python(PyExc_ValueError, "handle and shared memory do not fit together");
    return offset;
}

class PyMemory {
public:
    PyMemory(u64 bytes, u64 offset, bool zeroed)
        : held_(offset != 0 ? checked(offset, bytes) : make_memory(bytes, zeroed)),
          bytes_(bytes),
          at_(core().seg.at<Data>(held_.offset()).data()) {}

    u64 offset() const { return held_.offset(); }
    u64 bytes() const { return bytes_; }
    char* data() const { return at_; }
    std::vector<u32> holders() const {
        std::vector<u32> slots;
        for (u32 w = 0; w < kSlotWords; ++w) {
            for (u64 some = held_.object().holders[w].load(); some != 0; some &= some - 1)
                slots.push_back(w * 64 + static_cast<u32>(std::countr_zero(some)) + 1);
        }
        return slots;
    }

private:
    Held held_;
    u64 bytes_;
    char* at_;
};

// A private mapping of shared memory that nobody writes to any more: read from the one copy there is; a page that is
// written to becomes this process's own (mmap, MAP_PRIVATE).
class PyPrivateCopy {
public:
    explicit PyPrivateCopy(nb::handle memory) : memory_(nb::borrow(memory)) {
        const PyMemory& m = nb::cast<const PyMemory&>(memory);
        const Segment& seg = core().seg;
        const u64 begin = static_cast<u64>(m.data() - seg.base), from = begin / 4096 * 4096;
        bytes_ = m.bytes();
        mapped_ = begin - from + bytes_;
        if (bytes_ == 0) return;
        at_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, seg.fd, static_cast<off_t>(from));
        if (at_ == MAP_FAILED) raise_no_memory(bytes_);
        data_ = static_cast<char*>(at_) + (begin - from);
    }
    ~PyPrivateCopy() {
        if (data_ != nullptr) munmap(at_, mapped_);
    }
    PyPrivateCopy(const PyPrivateCopy&) = delete;

    u64 bytes() const { return bytes_; }
    char* data() const { return data_; }

private:
    nb::object memory_;  // not to be used for something else as long as this looks at it
    u64 bytes_, mapped_;
    void* at_ = nullptr;
    char* data_ = nullptr;
};

// Where an ndarray lies and how: (address, shape, strides; None for C order, whether it is writable). Without the format, for
// which NumPy has no word where the dtype is a date.
nb::object geometry(nb::handle array) {
    Py_buffer view;
    if (PyObject_GetBuffer(array.ptr(), &view, PyBUF_STRIDES) != 0) throw nb::python_error();
    const auto numbers = [&](const Py_ssize_t* from) {
        PyObject* t = PyTuple_New(view.ndim);
        for (int i = 0; t != nullptr && i < view.ndim; ++i) PyTuple_SET_ITEM(t, i, PyLong_FromSsize_t(from[i]));
        return nb::steal(t);
    };
    const nb::object strides = PyBuffer_IsContiguous(&view, 'C') != 0 ? nb::none() : numbers(view.strides);
    const nb::object found =
        nb::make_tuple(reinterpret_cast<u64>(view.buf), numbers(view.shape), strides, view.readonly == 0);
    PyBuffer_Release(&view);
    return found;
}

template <class T>
int fill_buffer(PyObject* self, Py_buffer* view, int flags) {
    static char nothing[1];
    const T& from = *nb::inst_ptr<T>(self);
    char* at = from.data() != nullptr ? from.data() : nothing;
    return PyBuffer_FillInfo(view, self, at, static_cast<Py_ssize_t>(from.bytes()), 0, flags);
}

template <class T>
PyType_Slot buffer_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(fill_buffer<T>)}, {0, nullptr}};

}  // namespace

void bind_memory(nb::module_& m) {
    m.def("geometry", &geometry, nb::arg("array"));
    nb::class_<PyMemory>(m, "Memory", nb::type_slots(buffer_slots<PyMemory>), nb::is_weak_referenceable())
        .def(nb::init<u64, u64, bool>(), nb::arg("bytes"), nb::arg("offset") = 0, nb::arg("zeroed") = true)
        .def_prop_ro("offset", &PyMemory::offset)
        .def_prop_ro("address", [](const PyMemory& memory) { return reinterpret_cast<u64>(memory.data()); })
        .def_prop_ro("nbytes", &PyMemory::bytes)
        // The slots of the processes that hold it, this one among them.
        .def("holders", &PyMemory::holders);
    m.def("slot", [] { return core().seg.me; });
    nb::class_<PyPrivateCopy>(m, "PrivateCopy", nb::type_slots(buffer_slots<PyPrivateCopy>))
        .def(nb::init<nb::handle>(), nb::arg("memory"))
        .def_prop_ro("nbytes", &PyPrivateCopy::bytes);
}

}  // namespace allcores::bindings
