// Channels for Python: queues (put, get) and the task and result rings of pools (send, receive).
// Over its size by the list of methods, which says nothing that could stand elsewhere.
#include "arguments.hpp"
#include "counted.hpp"
#include "shown.hpp"
#include "workers.hpp"

namespace allcores::bindings {

namespace {

PyObject* queue_full = nullptr;
PyObject* queue_empty = nullptr;

// In the second number of what receive() returns, when the body could not be decoded: the object is the error.
constexpr u64 kBroken = u64{1} << 62;

u64 make_channel(i64 bound, Counting counting) {
    Core& c = core();
    const u64 cells = static_cast<u64>(std::max<i64>(bound, 0));
    const u64 offset = ChannelView::create(c.seg, c.arena, cells, counting);
    if (offset == 0) raise_no_memory(sizeof(Channel) + Ring::bytes_for(std::max(cells, kFirstRing)));
    return offset;
}

// The maker already holds it; the handle takes over.
class PyChannel {
public:
    PyChannel(i64 bound, u64 offset, u64 max_bytes, bool joinable)
        : held_(offset != 0 ? checked(offset) : make_channel(bound, {max_bytes, joinable})) {}

    void put(const WaitArguments& given) {
        if (closed_) raise_python(PyExc_ValueError, "this queue is closed: put() after close()");
        const i64 deadline = given.deadline();  // before there are blocks to be given back
        Message m;
        encode(given.object, m);
        STEP("put.encoded");
        if (!put_message(m, deadline)) raise_python(python_name(queue_full, "queue", "Full"), "the queue is full");
    }

    nb::object get(const WaitArguments& given) {
        if (closed_) raise_python(PyExc_ValueError, "this queue is closed: get() after close()");
        Message m;
        if (!take_message(m, given.deadline()))
            raise_python(python_name(queue_empty, "queue", "Empty"), "the queue is empty");
        STEP("take.returned");
        if (shown_ != nullptr) shown_->update();
        return decode(m);
    }

    // How many bytes of blocks the message takes, of a task; 0 if it fits into its cell.
    u64 send(u64 a, u64 b, nb::handle object, u8 flags) {
        Message m;
        encode(object, m);
        const bool heavy = flags == kIsTask && m.root != 0;
        if (heavy) weigh(m);
        const u64 bytes = heavy ? m.a : 0;
        m.a = a;
        m.b = b;
        m.flags = flags;
        sent_ += weight(m);
        if ((flags & kAnswersTask) != 0) note_task_ended(a);  // before the pool can know of it
        put_message(m, kNever);
        return bytes;
    }

    nb::object receive(nb::handle timeout) {
        Message m;
        if (!take_message(m, deadline_for(true, timeout))) return nb::none();
        note_received(m);
        return unpack(m);
    }

    static nb::object unpack(Message& m) {
        nb::object body;
        u64 b = m.b;
        try {
            body = decode(m);
        } catch (nb::python_error& e) {
            body = nb::borrow(e.value());
            b |= kBroken;
        }
        return nb::steal(pack(m.a, b, body));
    }

    // Appended by native code: a signal cannot come between taking a message and its being kept.
    bool receive_into(nb::handle inbox, nb::handle timeout) {
        Message m;
        if (!take_message(m, deadline_for(true, timeout))) return false;
        note_received(m);
        if (PyList_Append(inbox.ptr(), unpack(m).ptr()) != 0) throw nb::python_error();
        return true;
    }

    // The first message with a number above `a`; those before it are dropped undecoded. None: there is none now.
    nb::object take_beyond(u64 a) {
        Message m;
        while (view().try_take(m)) {
            if (m.a > a) return unpack(m);
            view().free_blocks(m);
        }
        return nb::none();
    }

    // Takes out the messages of tasks that were given up, and puts the others back in their order. Adds the numbers of those that
    // are gone to a list that the caller holds, whatever comes next: where there is no memory to put one back, it is among them.
    void drop(const nb::list& numbers, nb::list dropped) {
        auto v = view();
        Message m;
        for (u64 n = v.length(); n > 0 && v.try_take(m, false); --n) {
            const bool unwanted = PySequence_Contains(numbers.ptr(), nb::int_(m.a).ptr()) == 1;
            if (!unwanted && v.try_put(m) == Sent::ok) continue;
            v.free_blocks(m);
            dropped.append(m.a);
        }
    }

    // See look_soon in park.hpp; kept by the next receive(), or by break_promise().
    void promise_look() { look_soon(core().seg, channel().items); }
    void break_promise() {
        if (looked(core().seg, channel().items)) notify_one(core().seg, channel().items);
    }

    bool empty() {
        const bool holds = view().has_item();
        if (closed_ && holds) raise_python(PyExc_OSError, "this queue is closed: empty() after close()");
        return !holds;
    }
    bool full() {
        if (channel().bound != 0 && !view().has_room()) return true;
        if (max_bytes() == 0) return false;
        mend(counted());
        return channel().ledger().bytes.load() >= max_bytes();
    }
    u64 length() { return view().length(); }
    i64 bound() const { return static_cast<i64>(channel().bound); }
    u64 max_bytes() const { return channel().counts == 0 ? 0 : channel().ledger().max_bytes; }
    CountedView counted() const {
        Core& c = core();
        if (channel().counts == 0) raise_python(PyExc_TypeError, "this queue does not count: make a JoinableQueue");
        return {c.seg, c.arena, channel()};
    }
    nb::tuple traffic() const { return nb::make_tuple(sent_, received_, static_cast<double>(waited_) * 1e-9, answers_); }
    // Readable while there is something. -1 when closed. `alone`: for who alone receives here, and asks again each time that
    // it has.
    int fileno(bool alone) {
        if (closed_) return -1;
        if (shown_ == nullptr || !shown_->is_of_here()) shown_ = std::make_unique<Shown>(held_.offset(), alone);
        shown_->update();
        return shown_->fd();
    }
    void close() {
        closed_ = true;
        shown_.reset();
    }
    bool closed() const { return closed_; }
    u64 offset() const { return held_.offset(); }
    Channel& channel() const { return core().seg.at<Channel>(held_.offset()); }

private:
    static u64 checked(u64 offset) {
        Core& c = core();
        check_kind(offset, Kind::channel, Kind::channel);
        if (!ChannelView(c.seg, c.arena, c.seg.at<Channel>(offset)).is_sound())
            raise_python(PyExc_ValueError, "this queue is damaged: something wrote where it should not");
        return offset;
    }
    static PyObject* pack(u64 a, u64 b, nb::object& body) {
        PyObject* t = PyTuple_New(3);
        if (t == nullptr) throw nb::python_error();
        PyTuple_SET_ITEM(t, 0, PyLong_FromUnsignedLongLong(a));
        PyTuple_SET_ITEM(t, 1, PyLong_FromUnsignedLongLong(b));
        PyTuple_SET_ITEM(t, 2, body.release().ptr());
        return t;
    }

    ChannelView view() const {
        Core& c = core();
        return {c.seg, c.arena, channel()};
    }

    bool put_message(Message& m, i64 deadline) {
        Sent sent = Sent::full;
        auto v = view();
        bool in_time = false;
        try {
            in_time = channel().counts != 0
                          ? put_counted(m, deadline, sent)
                          : wait_python(channel().room, deadline, [&] { return (sent = v.try_put(m)) != Sent::full; },
                                        [&] { return v.has_room(); });
        } catch (nb::python_error&) {
            v.free_blocks(m);
            throw;
        }
        if (in_time && sent == Sent::ok) return true;
        v.free_blocks(m);
        if (in_time) raise_no_memory(Ring::bytes_for(v.length() * kRingGrowth));
        return false;
    }

    bool put_counted(Message& m, i64 deadline, Sent& sent) {
        weigh(m);
        return wait_to_put(counted(), channel(), m, deadline, sent);
    }

    bool take_message(Message& m, i64 deadline) {
        if (channel().counts != 0) return wait_to_take(counted(), channel(), m, deadline);
        auto v = view();
        i64 began = 0;  // of the wait, if there is one
        const auto attempt = [&] {
            if (v.try_take(m)) return true;
            if (began == 0) began = coarse_now_ns();
            return false;
        };
        const bool taken = wait_python(channel().items, deadline, attempt, [&] { return v.has_item(); });
        if (began != 0) waited_ += coarse_now_ns() - began;
        return taken;
    }

    static u64 weight(const Message& m) { return m.root == 0 ? m.size : bytes_of(m); }

    void note_received(const Message& m) {
        received_ += weight(m);
        answers_ += (m.flags & kAnswersTask) != 0 ? 1 : 0;
        if ((m.flags & kIsTask) != 0) note_task_begun();
    }

    Held held_;
    bool closed_ = false;
    // By this handle, in messages of pools.
    u64 sent_ = 0, received_ = 0, answers_ = 0;
    i64 waited_ = 0;  // nanoseconds for something to take
    std::unique_ptr<Shown> shown_;
};

PyChannel& self_of(PyObject* self) { return *ready<PyChannel>(self); }

PyObject* channel_put(PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* names) {
    WaitArguments given;
    if (!given.read("put", true, args, n, names)) return nullptr;
    return as_slot([&] {
        self_of(self).put(given);
        return Py_NewRef(Py_None);
    }, nullptr);
}

PyObject* channel_get(PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* names) {
    WaitArguments given;
    if (!given.read("get", false, args, n, names)) return nullptr;
    return as_slot([&] { return self_of(self).get(given).release().ptr(); }, nullptr);
}

// The methods of pools, by position only: (a, b, obj, flags=0), (a, b, obj), (timeout=None), (inbox, timeout=None).

PyObject* channel_send(PyObject* self, PyObject* const* args, Py_ssize_t n, u64 flags) {
    const u64 a = n < 3 ? 0 : PyLong_AsUnsignedLongLong(args[0]), b = n < 3 ? 0 : PyLong_AsUnsignedLongLong(args[1]);
    if (n == 4) flags = PyLong_AsUnsignedLongLong(args[3]);
    if (n < 3 || n > 4) PyErr_SetString(PyExc_TypeError, "send() takes two numbers, an object, and flags");
    if (PyErr_Occurred() != nullptr) return nullptr;
    return as_slot([&] {
        const u64 bytes = self_of(self).send(a, b, args[2], static_cast<u8>(flags));
        return bytes == 0 ? Py_NewRef(Py_None) : PyLong_FromUnsignedLongLong(bytes);
    }, nullptr);
}
PyObject* channel_send_any(PyObject* self, PyObject* const* args, Py_ssize_t n) { return channel_send(self, args, n, 0); }
PyObject* channel_send_task(PyObject* self, PyObject* const* args, Py_ssize_t n) {
    return channel_send(self, args, n, kIsTask);
}

PyObject* channel_receive(PyObject* self, PyObject* const* args, Py_ssize_t n) {
    return as_slot([&] { return self_of(self).receive(n == 0 ? Py_None : args[0]).release().ptr(); }, nullptr);
}

PyObject* channel_receive_into(PyObject* self, PyObject* const* args, Py_ssize_t n) {
    if (n == 0 || !PyList_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "receive_into() takes a list and a timeout");
        return nullptr;
    }
    return as_slot([&] {
        return Py_NewRef(self_of(self).receive_into(args[0], n == 1 ? Py_None : args[1]) ? Py_True : Py_False);
    }, nullptr);
}

PyMethodDef channel_methods[] = {
    {"send", as_method(channel_send_any), METH_FASTCALL, nullptr},
    {"send_task", as_method(channel_send_task), METH_FASTCALL, nullptr},
    {"receive", as_method(channel_receive), METH_FASTCALL, nullptr},
    {"receive_into", as_method(channel_receive_into), METH_FASTCALL, nullptr},
    {"put", as_method(channel_put), METH_FASTCALL | METH_KEYWORDS,
     "put($self, obj, block=True, timeout=None)\n--\n\nAdd an item. With a maxsize it waits for room if `block`, at most `timeout` "
     "seconds, and raises queue.Full. UnpicklableError at once for what cannot travel."},
    {"get", as_method(channel_get), METH_FASTCALL | METH_KEYWORDS,
     "get($self, block=True, timeout=None)\n--\n\nTake the first item. Waits for one if `block`, at most `timeout` seconds, and "
     "raises queue.Empty."},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot channel_slots[] = {{Py_tp_methods, channel_methods}, {0, nullptr}};

}  // namespace

#ifdef ALLCORES_STEPS
void bind_steps(nb::module_& m);  // steps.cpp
#endif

void bind_channel(nb::module_& m) {
#ifdef ALLCORES_STEPS
    bind_steps(m);
#endif
    m.attr("BROKEN") = kBroken;
    m.attr("ANSWERS_TASK") = kAnswersTask;
    m.attr("ENDED_WELL") = kEndedWell;

    nb::class_<PyChannel>(m, "Channel", nb::is_weak_referenceable(), nb::type_slots(channel_slots))
        .def(nb::init<i64, u64, u64, bool>(), nb::arg("bound") = 0, nb::arg("offset") = 0, nb::arg("max_bytes") = 0,
             nb::arg("joinable") = false)
        .def("take_beyond", &PyChannel::take_beyond, nb::arg("a"))
        .def("drop", &PyChannel::drop, nb::arg("numbers"), nb::arg("into"))
        .def("promise_look", &PyChannel::promise_look)
        .def("break_promise", &PyChannel::break_promise)
        .def("empty", &PyChannel::empty)
        .def("full", &PyChannel::full)
        .def("qsize", &PyChannel::length)
        .def("_fileno", &PyChannel::fileno, nb::arg("alone") = true)
        .def("close", &PyChannel::close)
        .def("traffic", &PyChannel::traffic)
        .def("_task_done", [](const PyChannel& c) { task_done(c.counted()); })
        .def("_join", [](const PyChannel& c) { join(c.counted(), c.channel()); })
        .def("_recover", [](const PyChannel& c) { return recover_items(c.counted()); })
        .def("_counts", [](const PyChannel& c) { return count(c.counted(), c.channel()); })
        .def_prop_ro("bound", &PyChannel::bound)
        .def_prop_ro("max_bytes", &PyChannel::max_bytes)
        .def_prop_ro("closed", &PyChannel::closed)
        .def_prop_ro("offset", &PyChannel::offset);
}

}  // namespace allcores::bindings
