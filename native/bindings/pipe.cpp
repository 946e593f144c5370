// Sides of pipes for Python. What a Connection is, is said in allcores/connection.py.
#include "shown.hpp"

#include <optional>

namespace allcores::bindings {

namespace {

// In the flags of a message: the bytes that were given to send_bytes(), and no object.
constexpr u8 kRawBytes = 8;

PyObject* pickle_dumps = nullptr;
PyObject* pickle_loads = nullptr;

nb::object through(PyObject*& cache, const char* name, const nb::object& what) {
    const nb::handle function(python_name(cache, "pickle", name));
    return in_python([&] { return function(what); });
}

[[noreturn]] void raise_closed() { raise_python(PyExc_OSError, "handle is closed"); }

// The body of a message that was given as bytes, where it lies.
struct Bytes {
    const char* data;
    u64 size;
    static Bytes of(const Message& m) {
        if (m.root == 0) return {m.body, m.size};
        Root& root = root_of(core().arena, m.root);
        return {root.pickle(), root.pickle_bytes};
    }
};

// One side of a pipe, as this process holds it. Its memory is let go of when it is closed and no thread is in a call.
class PyPipeEnd {
public:
    // Without a handle it is the receiving side of a new pipe.
    explicit PyPipeEnd(u64 handle) : handle_(handle != 0 ? checked(handle) : make()) {
        object_.emplace(offset_of(handle_));
        side_.emplace(handle_);
    }
    ~PyPipeEnd() { let_go(); }

    void send(nb::handle object) {
        const Inside inside(*this);
        Message m;
        encode(object, m);
        put(m);
    }

    void send_bytes(nb::handle buffer) {
        const Inside inside(*this);
        Message m;
        Py_buffer view;
        if (PyObject_GetBuffer(buffer.ptr(), &view, PyBUF_CONTIG_RO) != 0) throw nb::python_error();
        try {
            encode_bytes(static_cast<const char*>(view.buf), static_cast<u64>(view.len), m);
        } catch (...) {
            PyBuffer_Release(&view);
            throw;
        }
        PyBuffer_Release(&view);
        m.flags |= kRawBytes;
        put(m);
    }

    nb::object recv() {
        const Inside inside(*this);
        Message m;
        receive(m);
        STEP("take.returned");
        nb::object got = decode(m);
        return (m.flags & kRawBytes) == 0 ? got : through(pickle_loads, "loads", got);
    }

    nb::object recv_bytes() {
        const Inside inside(*this);
        Message m;
        receive(m);
        nb::object got = decode(m);
        return (m.flags & kRawBytes) != 0 ? got : through(pickle_dumps, "dumps", got);
    }

    // How many bytes were written into the buffer from `offset` on; where they do not fit, the bytes themselves.
    nb::object recv_bytes_into(nb::handle buffer, u64 offset) {
        const Inside inside(*this);
        Py_buffer view;
        if (PyObject_GetBuffer(buffer.ptr(), &view, PyBUF_CONTIG) != 0) throw nb::python_error();
        struct Release {
            Py_buffer& view;
            ~Release() { PyBuffer_Release(&view); }
        } const afterwards{view};
        Message m;
        receive(m);
        const u64 room = static_cast<u64>(view.len) - std::min(offset, static_cast<u64>(view.len));
        if ((m.flags & kRawBytes) == 0 || (m.flags & kDamaged) != 0 || Bytes::of(m).size > room) {
            const bool raw = (m.flags & kRawBytes) != 0;
            nb::object got = decode(m);
            if (!raw) got = through(pickle_dumps, "dumps", got);
            const u64 n = static_cast<u64>(PyBytes_Size(got.ptr()));
            if (n > room) return got;
            std::memcpy(static_cast<char*>(view.buf) + offset, PyBytes_AsString(got.ptr()), n);
            return nb::int_(n);
        }
        const Bytes bytes = Bytes::of(m);
        without_gil([&] { return std::memcpy(static_cast<char*>(view.buf) + offset, bytes.data, bytes.size); });
        const u64 n = bytes.size;
        give_back_blocks(core().seg, core().arena, m, core().seg.me);
        return nb::int_(n);
    }

    bool poll(nb::handle timeout) {
        const Inside inside(*this);
        const auto there = [&] { return view().can_receive(); };
        const bool in_time = wait_python(channel().items, deadline_for(true, timeout), [&] { return closed_ || there(); }, there);
        if (closed_) raise_closed();
        return in_time;
    }

    int fileno() {
        const Inside inside(*this);
        if (shown_ == nullptr || !shown_->is_of_here()) shown_ = std::make_unique<Shown>(handle_);
        shown_->update();
        return shown_->fd();
    }

    // Other threads that are in a call find it closed.
    void close() {
        if (closed_.exchange(true)) return;
        if (calls() == 0) return let_go();
        disturb(channel().items, core().seg);
        tell_several(core().seg);
    }
    bool closed() const { return closed_; }

    // The handle; not its object's offset alone.
    u64 offset() const {
        if (closed_) raise_closed();
        return handle_;
    }

private:
    struct Inside {
        PyPipeEnd& end;
        const u32 ancestors = bare_core().ancestors;
        explicit Inside(PyPipeEnd& e) : end(e) {
            if (e.closed_) raise_closed();
            ++e.calls();
        }
        ~Inside() {
            u32& calls = end.calls();
            if (ancestors == end.ancestors_) --calls;  // else the process was forked in the call
            if (calls == 0 && end.closed_) end.let_go();
        }
        Inside(const Inside&) = delete;
    };

    // That threads of this process are in; under the GIL. A fork has none of the threads that its parent had in some.
    u32& calls() {
        if (const u32 now = bare_core().ancestors; now != ancestors_) {
            ancestors_ = now;
            calls_ = 0;
        }
        return calls_;
    }

    static u64 checked(u64 handle) {
        Core& c = core();
        check_kind(offset_of(handle), Kind::pipe, Kind::pipe);
        const u64 side = side_of(handle);
        Channel& channel = c.seg.at<Channel>(offset_of(handle));
        if ((side != kReceives && side != kSends) || !ChannelView(c.seg, c.arena, channel).is_sound())
            raise_python(PyExc_ValueError, "this connection is damaged: something wrote where it should not");
        return handle;
    }
    static u64 make() {
        Core& c = core();
        const u64 offset = PipeView::create(c.seg, c.arena);
        if (offset == 0) raise_no_memory(sizeof(Pipe) + Ring::bytes_for(kFirstRing));
        return offset | kReceives;
    }

    void let_go() {
        shown_.reset();
        side_.reset();
        object_.reset();
    }

    Pipe& pipe() const { return core().seg.at<Pipe>(offset_of(handle_)); }
    Channel& channel() const { return pipe().channel; }
    PipeView view() const { return {core().seg, core().arena, pipe()}; }

    void put(Message& m) {
        PipeView v = view();
        const bool gone = v.is_gone(kReceives);
        const Sent sent = gone ? Sent::full : v.channel().try_put(m);
        if (sent == Sent::ok) return;
        v.channel().free_blocks(m);
        if (sent == Sent::no_memory) raise_no_memory(Ring::bytes_for(v.channel().length() * kRingGrowth));
        PyErr_SetObject(PyExc_BrokenPipeError, nb::make_tuple(EPIPE, "the other end of this connection is closed").ptr());
        throw nb::python_error();
    }

    void receive(Message& m) {
        PipeView v = view();
        Receive got = Receive::empty;
        wait_python(channel().items, kNever, [&] { return (got = v.try_receive(m)) != Receive::empty || closed_; },
                    [&] { return v.can_receive(); });
        if (shown_ != nullptr) shown_->update();
        if (got == Receive::ok) return;
        if (got == Receive::empty) raise_closed();
        raise_python(PyExc_EOFError, "the other end of this connection is closed, and nothing is left to receive");
    }

    const u64 handle_;
    std::optional<Held> object_, side_;
    std::unique_ptr<Shown> shown_;
    std::atomic<bool> closed_{false};
    u32 ancestors_ = bare_core().ancestors;
    u32 calls_ = 0;
};

PyObject* pipe_send(PyObject* self, PyObject* object) {
    return as_slot([&] {
        ready<PyPipeEnd>(self)->send(object);
        return Py_NewRef(Py_None);
    }, nullptr);
}
PyObject* pipe_recv(PyObject* self, PyObject*) {
    return as_slot([&] { return ready<PyPipeEnd>(self)->recv().release().ptr(); }, nullptr);
}

PyMethodDef pipe_methods[] = {
    {"send", pipe_send, METH_O, nullptr},
    {"recv", pipe_recv, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot pipe_slots[] = {{Py_tp_methods, pipe_methods}, {0, nullptr}};

}  // namespace

void bind_pipe(nb::module_& m) {
    m.attr("BOTH_SIDES") = kReceives | kSends;
    nb::class_<PyPipeEnd>(m, "PipeEnd", nb::is_weak_referenceable(), nb::type_slots(pipe_slots))
        .def(nb::init<u64>(), nb::arg("offset") = 0)
        .def("send_bytes", &PyPipeEnd::send_bytes, nb::arg("buffer"))
        .def("recv_bytes", &PyPipeEnd::recv_bytes)
        .def("recv_bytes_into", &PyPipeEnd::recv_bytes_into, nb::arg("buffer"), nb::arg("offset"))
        .def("poll", &PyPipeEnd::poll, nb::arg("timeout") = nb::none())
        .def("fileno", &PyPipeEnd::fileno)
        .def("close", &PyPipeEnd::close)
        .def_prop_ro("closed", &PyPipeEnd::closed)
        .def_prop_ro("offset", &PyPipeEnd::offset);
}

}  // namespace allcores::bindings
