// Value and Array for Python: typed elements in one block, with the lock that guards them in front.
#include "data.hpp"

namespace allcores::bindings {

namespace {

class PyValue : public PyData {
public:
    using PyData::PyData;
};
class PyArray : public PyData {
public:
    using PyData::PyData;
};

PyObject* value_get(PyObject* self, void*) {
    PyValue& v = *nb::inst_ptr<PyValue>(self);
    return as_slot([&] { return v.guarded([&] { return v.code().get(v.element(0)); }); }, nullptr);
}

int value_set(PyObject* self, PyObject* value, void*) {
    PyValue& v = *nb::inst_ptr<PyValue>(self);
    if (value == nullptr) {
        PyErr_SetString(PyExc_AttributeError, "the value of a Value cannot be deleted");
        return -1;
    }
    return as_slot([&] { return v.guarded([&] { return v.code().set(v.element(0), value) ? 0 : -1; }); }, -1);
}

PyObject* value_iadd(PyObject* self, PyObject* by) {
    PyValue& v = *nb::inst_ptr<PyValue>(self);
    PyObject* sum = as_slot([&] { return v.guarded([&] { return v.code().add(v.element(0), by); }); }, nullptr);
    if (sum == nullptr) return nullptr;
    Py_DECREF(sum);
    return Py_NewRef(self);
}

PyGetSetDef value_getset[] = {
    {"value", value_get, value_set, "The value. Blocks while another thread or process holds the lock.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

Py_ssize_t array_length(PyObject* self) { return static_cast<Py_ssize_t>(nb::inst_ptr<PyArray>(self)->length()); }

PyObject* array_item(PyObject* self, Py_ssize_t i) {
    PyArray& a = *nb::inst_ptr<PyArray>(self);
    if (i < 0 || static_cast<u64>(i) >= a.length()) {
        PyErr_Format(PyExc_IndexError, "index %zd is outside this Array of %llu elements", i,
                     static_cast<unsigned long long>(a.length()));
        return nullptr;
    }
    return as_slot([&] { return a.guarded([&] { return a.code().get(a.element(static_cast<u64>(i))); }); }, nullptr);
}

int array_set_item(PyArray& a, Py_ssize_t i, PyObject* value) {
    if (i < 0 || static_cast<u64>(i) >= a.length()) {
        PyErr_Format(PyExc_IndexError, "index %zd is outside this Array of %llu elements", i,
                     static_cast<unsigned long long>(a.length()));
        return -1;
    }
    return as_slot([&] { return a.guarded([&] { return a.code().set(a.element(static_cast<u64>(i)), value) ? 0 : -1; }); }, -1);
}

// The index, negative ones from the end; -1 with an error set if it is no index.
Py_ssize_t index_of(const PyArray& a, PyObject* key) {
    const Py_ssize_t i = PyNumber_AsSsize_t(key, PyExc_IndexError);
    if (i == -1 && PyErr_Occurred() != nullptr) return -1;
    return i < 0 ? i + static_cast<Py_ssize_t>(a.length()) : i;
}

PyObject* joined(const PyArray& a, PyObject* list) {
    if (a.code().code != 'c' && a.code().code != 'u') return list;
    nb::object items = nb::steal(list);
    nb::object empty = a.code().code == 'c' ? nb::steal(PyBytes_FromStringAndSize(nullptr, 0)) : nb::object(nb::str(""));
    return as_slot([&] { return empty.attr("join")(items).release().ptr(); }, nullptr);
}

PyObject* array_subscript(PyObject* self, PyObject* key) {
    PyArray& a = *nb::inst_ptr<PyArray>(self);
    if (!PySlice_Check(key)) {
        const Py_ssize_t i = index_of(a, key);
        return i == -1 && PyErr_Occurred() != nullptr ? nullptr : array_item(self, i);
    }
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(key, &start, &stop, &step) != 0) return nullptr;
    const Py_ssize_t n = PySlice_AdjustIndices(static_cast<Py_ssize_t>(a.length()), &start, &stop, step);
    PyObject* list = PyList_New(n);
    if (list == nullptr) return nullptr;
    const bool good = as_slot([&] {
        return a.guarded([&] {
            for (Py_ssize_t k = 0; k < n; ++k) {
                PyObject* item = a.code().get(a.element(static_cast<u64>(start + k * step)));
                if (item == nullptr) return false;
                PyList_SET_ITEM(list, k, item);
            }
            return true;
        });
    }, false);
    if (good) return joined(a, list);
    Py_DECREF(list);
    return nullptr;
}

// All values are checked before the first is written: a bad one changes nothing.
int array_set_slice(PyArray& a, PyObject* key, PyObject* values) {
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(key, &start, &stop, &step) != 0) return -1;
    const Py_ssize_t n = PySlice_AdjustIndices(static_cast<Py_ssize_t>(a.length()), &start, &stop, step);
    // A tuple of its own: an element's __index__ may change the sequence it came in.
    nb::object items = nb::steal(PySequence_Tuple(values));
    if (!items.is_valid()) return -1;
    if (PyTuple_GET_SIZE(items.ptr()) != n) {
        PyErr_Format(PyExc_ValueError, "this slice has %zd elements and %zd values were given: an Array keeps its length", n,
                     PyTuple_GET_SIZE(items.ptr()));
        return -1;
    }
    nb::object stage = nb::steal(PyByteArray_FromStringAndSize(nullptr, n * static_cast<Py_ssize_t>(a.code().bytes)));
    if (!stage.is_valid()) return -1;
    char* staged = PyByteArray_AS_STRING(stage.ptr());
    for (Py_ssize_t k = 0; k < n; ++k) {
        nb::object item = nb::borrow(PyTuple_GET_ITEM(items.ptr(), k));
        if (PyBytes_Check(values) && a.code().code == 'c') {
            const char byte = PyBytes_AS_STRING(values)[k];
            item = nb::steal(PyBytes_FromStringAndSize(&byte, 1));
        }
        if (!a.code().set(staged + static_cast<std::size_t>(k) * a.code().bytes, item.ptr())) return -1;
    }
    return as_slot([&] {
        return a.guarded([&] {
            for (Py_ssize_t k = 0; k < n; ++k)
                std::memcpy(a.element(static_cast<u64>(start + k * step)),
                            staged + static_cast<std::size_t>(k) * a.code().bytes, a.code().bytes);
            return 0;
        }, 0);
    }, -1);
}

int array_assign(PyObject* self, PyObject* key, PyObject* value) {
    PyArray& a = *nb::inst_ptr<PyArray>(self);
    if (value == nullptr) {
        PyErr_SetString(PyExc_TypeError, "elements of an Array cannot be deleted: it keeps its length");
        return -1;
    }
    if (PySlice_Check(key)) return array_set_slice(a, key, value);
    const Py_ssize_t i = index_of(a, key);
    return i == -1 && PyErr_Occurred() != nullptr ? -1 : array_set_item(a, i, value);
}

PyType_Slot value_slots[] = {{Py_nb_inplace_add, slot(value_iadd)},
                             {Py_tp_getset, value_getset},
                             {Py_bf_getbuffer, slot(buffer_of<PyValue>)},
                             {Py_bf_releasebuffer, slot(release_buffer)},
                             {0, nullptr}};
PyType_Slot array_slots[] = {{Py_mp_length, slot(array_length)},
                             {Py_sq_item, slot(array_item)},
                             {Py_mp_subscript, slot(array_subscript)},
                             {Py_mp_ass_subscript, slot(array_assign)},
                             {Py_bf_getbuffer, slot(buffer_of<PyArray>)},
                             {Py_bf_releasebuffer, slot(release_buffer)},
                             {0, nullptr}};

}  // namespace

void bind_shared(nb::module_& m) {
    m.attr("TYPE_CODES") = kCodeTable;
    nb::class_<PyValue>(m, "Value", nb::type_slots(value_slots), nb::is_weak_referenceable())
        .def(nb::init<char, u64, u64, i64>(), nb::arg("code"), nb::arg("n"), nb::arg("offset"), nb::arg("guard"))
        .def("add", [](PyValue& v, nb::handle by) {
            PyObject* sum = v.guarded([&] { return v.code().add(v.element(0), by.ptr()); });
            if (sum == nullptr) throw nb::python_error();
            return nb::steal(sum);
        }, nb::arg("value"))
        .def_prop_ro("address", [](const PyValue& d) { return reinterpret_cast<u64>(d.element(0)); })
        .def_prop_ro("offset", &PyValue::offset);
    nb::class_<PyArray>(m, "Array", nb::type_slots(array_slots), nb::is_weak_referenceable())
        .def(nb::init<char, u64, u64, i64>(), nb::arg("code"), nb::arg("n"), nb::arg("offset"), nb::arg("guard"))
        .def("add", [](PyArray& a, Py_ssize_t i, nb::handle by) {
            const Py_ssize_t at = i < 0 ? i + static_cast<Py_ssize_t>(a.length()) : i;
            if (at < 0 || static_cast<u64>(at) >= a.length()) {
                PyErr_Format(PyExc_IndexError, "index %zd is outside this Array of %llu elements", i,
                             static_cast<unsigned long long>(a.length()));
                throw nb::python_error();
            }
            PyObject* sum = a.guarded([&] { return a.code().add(a.element(static_cast<u64>(at)), by.ptr()); });
            if (sum == nullptr) throw nb::python_error();
            return nb::steal(sum);
        }, nb::arg("index"), nb::arg("value"))
        .def_prop_ro("address", [](const PyArray& d) { return reinterpret_cast<u64>(d.element(0)); })
        .def_prop_ro("offset", &PyArray::offset);
}

}  // namespace allcores::bindings
