// Objects to messages and back. Small exact built-ins and small containers of them travel by tags; other built-ins by the C pickler;
// arrays among such by how they lie (allcores.arrayparts); what may
// hold functions, classes, arrays or handles goes through allcores.codec, which knows cloudpickle and buffers.
// Over its size: what encodes a message and what decodes it are one format, and are read side by side.
#include "compact.hpp"
#include "plain.hpp"
#include "received.hpp"

#include <vector>

namespace allcores::bindings {

namespace {

enum class Body : u8 { pickle, none, yes, no, integer, real, text, bytes, arrays, compact };

PyObject* pickle_dumps = nullptr;
PyObject* pickle_loads = nullptr;
PyObject* rich_dumps = nullptr;
PyObject* take_apart = nullptr;
PyObject* put_together = nullptr;

BlockId take_block(u64 bytes) {
    const BlockId id = without_gil_from(bytes, [&] { return core().arena.take(bytes); });
    if (id == 0) raise_no_memory(bytes);
    return id;
}

// Blocks of a message that is being made: given back if it is not finished.
struct Draft {
    Message& message;
    bool done = false;
    ~Draft() {
        if (done || message.root == 0) return;
        give_back_blocks(core().seg, core().arena, message, core().seg.me);
        message.root = 0;
    }
};

// One large copy needs no GIL; other threads compute meanwhile.
void copy(char* to, const void* from, u64 bytes) {
    without_gil_from(bytes, [&] { return copy_bytes(to, from, bytes), true; });
}

Root& make_root(Message& m, u64 pickle_bytes, u32 buffers, u32 handles = 0) {
    static std::atomic<u16> tags{0};
    m.size = 0;
    m.tag = static_cast<u16>(tags.fetch_add(1, std::memory_order_relaxed) ^ core().seg.me * 40503U);  // two count alike
    m.root = take_block(Root::bytes_for(pickle_bytes, buffers, handles));
    Root& root = root_of(core().arena, m.root);
    root.pickle_bytes = pickle_bytes;
    root.buffers = buffers;
    root.handles = handles;
    for (u32 i = 0; i < buffers; ++i) root.buffer()[i].block = 0;
    STEP("encode.root_made");
    return root;
}

void set_body(Message& m, Body kind, const char* data, u64 bytes) {
    m.kind = static_cast<u8>(kind);
    m.root = 0;
    if (bytes <= kInline) {
        m.size = static_cast<u32>(bytes);
        std::memcpy(m.body, data, bytes);
    } else {
        copy(make_root(m, bytes, 0).pickle(), data, bytes);
    }
}

// The bytes of several objects, looked at until the end of its life.
class Views {
public:
    explicit Views(const nb::list& objects) {
        views_.reserve(objects.size());
        for (const nb::handle o : objects) {
            Py_buffer view;
            if (PyObject_GetBuffer(o.ptr(), &view, PyBUF_SIMPLE) != 0) {
                release();
                throw nb::python_error();
            }
            views_.push_back(view);
            bytes_ += static_cast<u64>(view.len);
        }
    }
    ~Views() { release(); }
    Views(const Views&) = delete;

    u64 bytes() const { return bytes_; }
    u32 count() const { return static_cast<u32>(views_.size()); }
    const void* data(u32 i) const { return views_[i].buf; }
    u64 size(u32 i) const { return static_cast<u64>(views_[i].len); }
    void copy_to(char* to) const {
        for (u32 i = 0; i < count(); to += size(i++)) copy(to, data(i), size(i));
    }

private:
    void release() {
        for (Py_buffer& view : views_) PyBuffer_Release(&view);
    }
    std::vector<Py_buffer> views_;
    u64 bytes_ = 0;
};

// `made` is what allcores.codec makes: the parts of the pickle, the buffers that stay out of it, and the objects it has handles
// of, which are pinned here. With `stored` never inline.
void set_rich(Message& m, const nb::tuple& made, Body kind = Body::pickle, bool stored = false) {
    const Views pickle(nb::cast<nb::list>(made[0])), buffers(nb::cast<nb::list>(made[1]));
    const nb::list handles = made.size() > 2 ? nb::cast<nb::list>(made[2]) : nb::list();
    const u32 n = buffers.count();
    const u64 bytes = pickle.bytes();
    m.kind = static_cast<u8>(kind);
    if (n == 0 && handles.size() == 0 && bytes <= kInline && !stored) {
        m.root = 0;
        m.size = static_cast<u32>(bytes);
        return pickle.copy_to(m.body);
    }
    Draft draft{m};
    Root& root = make_root(m, bytes, n, static_cast<u32>(handles.size()));
    std::fill_n(root.handle(), root.handles, 0);
    core().arena.set(m.root, root.handles != 0 ? BlockState::root : BlockState::owned);
    for (u32 i = 0; i < root.handles; ++i) {
        const u64 handle = nb::cast<u64>(nb::object(handles[i]));
        pin_handle(core().seg, core().arena, handle);
        root.handle()[i] = handle;
    }
    pickle.copy_to(root.pickle());
    for (u32 i = 0; i < n; ++i) {
        const u64 size = buffers.size(i);
        const BlockId block = without_gil_from(size, [&] { return core().arena.take_copy(buffers.data(i), size); });
        if (block == 0) raise_no_memory(size);
        root.buffer()[i] = {size, block, 0};
        STEP("encode.buffer_taken");
    }
    draft.done = true;
}

// While a message is unpacked, its handles are pinned; then whoever unpacked it holds what it wanted.
struct Unpinned {
    BlockId root;
    ~Unpinned() {
        if (root != 0) unpin_handles(core().seg, core().arena, root);
    }
};

// What this process stored, and the blocks of it: known here, whatever becomes of the bytes there.
std::unordered_map<BlockId, std::vector<BlockId>> stored;

u64 stored_bytes(BlockId id) {
    Root& root = root_of(core().arena, id);
    u64 bytes = root.pickle_bytes;
    for (u32 i = 0; i < root.buffers; ++i) bytes += root.buffer()[i].bytes;
    return bytes;
}

void remember_stored(BlockId id) {
    Root& root = root_of(core().arena, id);
    std::vector<BlockId>& blocks = stored[id];
    for (u32 i = 0; i < root.buffers; ++i) blocks.push_back(root.buffer()[i].block);
    blocks.push_back(id);
}

int block_buffer(PyObject* self, Py_buffer* view, int flags) {
    Block& b = *nb::inst_ptr<Block>(self);
    return PyBuffer_FillInfo(view, self, bare_core().arena.data(b.id) + b.offset, static_cast<Py_ssize_t>(b.bytes), 0, flags);
}

PyType_Slot block_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(block_buffer)}, {0, nullptr}};

nb::object loads(u8 kind, nb::handle data, nb::handle buffers) {
    if (kind == static_cast<u8>(Body::arrays)) {
        nb::handle f(python_name(put_together, "allcores.arrayparts", "put_together"));
        return in_python([&] { return buffers.is_valid() ? f(data, buffers) : f(data); });
    }
    nb::handle f(python_name(pickle_loads, "pickle", "loads"));
    return in_python([&] { return buffers.is_valid() ? f(data, nb::arg("buffers") = buffers) : f(data); });
}

[[noreturn]] void raise_damaged() {
    raise_python(PyExc_ValueError, "damaged message: its bytes in shared memory are not what was sent; something wrote where it "
                                   "should not, such as native code with a stray pointer");
}

// The body in a root block. With `keep` (a stored object, read by many) buffers are copied, and nothing is given back.
nb::object decode_root(Message& m, bool keep) {
    Core& c = core();
    Root& root = root_of(c.arena, m.root);
    const char* data = root.pickle();
    const u64 bytes = root.pickle_bytes;
    nb::list buffers;
    for (u32 i = 0; i < root.buffers; ++i) {
        const Root::Buffer& b = root.buffer()[i];
        if (keep) {
            buffers.append(nb::steal(PyByteArray_FromStringAndSize(c.arena.data(b.block), static_cast<Py_ssize_t>(b.bytes))));
        } else {
            buffers.append(receive_buffer(b.block, b.bytes));
        }
    }
    const u64 offset = static_cast<u64>(data - c.arena.data(m.root));
    nb::object whole;  // gives the root back at the end of this function, or later if the object still looks at it
    if (!keep) whole = nb::cast(new Block(m.root, offset, bytes), nb::rv_policy::take_ownership);
    const Unpinned afterwards{keep ? 0 : m.root};
    if (m.kind == static_cast<u8>(Body::bytes))
        return nb::steal(PyBytes_FromStringAndSize(data, static_cast<Py_ssize_t>(bytes)));
    if (m.kind == static_cast<u8>(Body::text))
        return nb::steal(PyUnicode_DecodeUTF8(data, static_cast<Py_ssize_t>(bytes), nullptr));
    nb::object view = nb::steal(keep ? PyMemoryView_FromMemory(const_cast<char*>(data), static_cast<Py_ssize_t>(bytes), PyBUF_READ)
                                     : PyMemoryView_FromObject(whole.ptr()));
    return loads(m.kind, view, root.buffers != 0 ? nb::handle(buffers) : nb::handle());
}

}  // namespace

void encode(nb::handle object, Message& m) {
    PyObject* o = object.ptr();
    PyTypeObject* t = Py_TYPE(o);
    std::memset(static_cast<void*>(&m), 0, offsetof(Message, body));
    if (t == &PyLong_Type) {
        int overflow = 0;
        const i64 v = PyLong_AsLongLongAndOverflow(o, &overflow);
        if (overflow == 0) return set_body(m, Body::integer, reinterpret_cast<const char*>(&v), sizeof v);
    } else if (t == &PyFloat_Type) {
        const double v = PyFloat_AS_DOUBLE(o);
        return set_body(m, Body::real, reinterpret_cast<const char*>(&v), sizeof v);
    } else if (o == Py_None || t == &PyBool_Type) {
        m.kind = static_cast<u8>(o == Py_None ? Body::none : o == Py_True ? Body::yes : Body::no);
        return;
    } else if (t == &PyUnicode_Type) {
        Py_ssize_t n = 0;
        if (const char* text = PyUnicode_AsUTF8AndSize(o, &n)) return set_body(m, Body::text, text, static_cast<u64>(n));
        PyErr_Clear();  // lone surrogates: pickle knows them
    } else if (t == &PyBytes_Type) {
        return set_body(m, Body::bytes, PyBytes_AS_STRING(o), static_cast<u64>(PyBytes_GET_SIZE(o)));
    }
    CompactWriter compact(m.body, kInline);
    if (compact.put(o)) {
        m.kind = static_cast<u8>(Body::compact);
        m.size = static_cast<u32>(compact.size());
        return;
    }
    if (is_plain(o, 6)) {
        const nb::handle dumps(python_name(pickle_dumps, "pickle", "dumps"));
        nb::object pickle = in_python([&] { return dumps(object, 5); });
        return set_body(m, Body::pickle, PyBytes_AS_STRING(pickle.ptr()), static_cast<u64>(PyBytes_GET_SIZE(pickle.ptr())));
    }
    if (has_arrays(o)) {
        const nb::handle take(python_name(take_apart, "allcores.arrayparts", "take_apart"));
        const nb::object made = in_python([&] { return take(object); });
        if (!made.is_none()) return set_rich(m, nb::cast<nb::tuple>(made), Body::arrays);
    }
    const nb::handle dumps(python_name(rich_dumps, "allcores.codec", "dumps_message"));
    set_rich(m, nb::cast<nb::tuple>(in_python([&] { return dumps(object); })));
}

void encode_bytes(const char* data, u64 bytes, Message& m) {
    std::memset(static_cast<void*>(&m), 0, offsetof(Message, body));
    set_body(m, Body::bytes, data, bytes);
}

nb::object decode(Message& m) {
    if (m.root != 0) return decode_root(m, false);
    if ((m.flags & kDamaged) != 0 || m.size > kInline || m.kind > static_cast<u8>(Body::compact)) raise_damaged();
    switch (static_cast<Body>(m.kind)) {
        case Body::none: return nb::none();
        case Body::yes: return nb::bool_(true);
        case Body::no: return nb::bool_(false);
        case Body::integer: {
            i64 v;
            std::memcpy(&v, m.body, sizeof v);
            return nb::steal(PyLong_FromLongLong(v));
        }
        case Body::real: {
            double v;
            std::memcpy(&v, m.body, sizeof v);
            return nb::steal(PyFloat_FromDouble(v));
        }
        case Body::text: return nb::steal(PyUnicode_DecodeUTF8(m.body, m.size, nullptr));
        case Body::bytes: return nb::steal(PyBytes_FromStringAndSize(m.body, m.size));
        case Body::compact: {
            CompactReader reader(m.body, m.size);
            nb::object made = nb::steal(reader.get());
            if (made.is_valid() && reader.at_end()) return made;
            if (PyErr_ExceptionMatches(PyExc_MemoryError) != 0) throw nb::python_error();
            PyErr_Clear();  // such as a list for a key: that was not sent
            raise_damaged();
        }
        case Body::pickle: case Body::arrays: break;
    }
    return loads(m.kind, nb::steal(PyBytes_FromStringAndSize(m.body, m.size)), nb::handle());
}

void forget_stored() { stored.clear(); }

void bind_codec(nb::module_& m) {
    nb::class_<Block>(m, "Block", nb::type_slots(block_slots))
        .def_prop_ro("nbytes", [](const Block& b) { return b.bytes; });

    // An object to be read by several others: made from what codec.dumps returns; lives until drop_stored. With its size.
    m.def("store", [](nb::tuple made) {
        Message msg{};
        set_rich(msg, made, Body::pickle, true);
        remember_stored(msg.root);
        return nb::make_tuple(msg.root, stored_bytes(msg.root));
    }, nb::arg("made"));
    m.def("load_stored", [](BlockId id) {
        Message msg{};
        msg.root = id;
        Arena& arena = core().arena;
        const auto good = [&](BlockId b) { return arena.exists(b) && arena.look(b).state() == BlockState::owned; };
        if (!is_whole(arena, id, good)) raise_damaged();
        return nb::make_tuple(decode_root(msg, true), stored_bytes(id));
    }, nb::arg("block"));
    m.def("drop_stored", [](BlockId id) {
        const auto found = stored.extract(id);
        if (found.empty()) return;  // in a fork of who stored it
        for (const BlockId each : found.mapped()) core().arena.give_back(each);
    }, nb::arg("block"));
}

}  // namespace allcores::bindings
