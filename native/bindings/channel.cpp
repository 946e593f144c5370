// Channels for Python: queues (put, get) and the task and result rings of pools (send, receive).
#include "core.hpp"

namespace allcores::bindings {

namespace {

PyObject* queue_full = nullptr;
PyObject* queue_empty = nullptr;

// In the second number of what receive() returns, when the body could not be decoded: the object is the error.
constexpr u64 kBroken = u64{1} << 62;

u64 make_channel(i64 bound) {
    Core& c = core();
    const u64 cells = static_cast<u64>(std::max<i64>(bound, 0));
    const u64 offset = ChannelView::create(c.seg, c.arena, cells);
    if (offset == 0) raise_no_memory(sizeof(Channel) + Ring::bytes_for(std::max(cells, kFirstRing)));
    return offset;
}

// The maker already holds it; the handle takes over.
class PyChannel {
public:
    PyChannel(i64 bound, u64 offset) : held_(offset != 0 ? checked(offset) : make_channel(bound)) {}

    void put(nb::handle object, bool block, nb::handle timeout) {
        if (closed_) raise_python(PyExc_ValueError, "this queue is closed: put() after close()");
        Message m{};
        encode(object, m);
        STEP("put.encoded");
        if (!put_message(m, deadline_for(block, timeout)))
            raise_python(python_name(queue_full, "queue", "Full"), "the queue is full");
    }

    nb::object get(bool block, nb::handle timeout) {
        if (closed_) raise_python(PyExc_ValueError, "this queue is closed: get() after close()");
        Message m;
        if (!take_message(m, deadline_for(block, timeout)))
            raise_python(python_name(queue_empty, "queue", "Empty"), "the queue is empty");
        STEP("take.returned");
        return decode(m);
    }

    void send(u64 a, u64 b, nb::handle object, u8 flags) {
        Message m{};
        encode(object, m);
        m.a = a;
        m.b = b;
        m.flags = flags;
        put_message(m, kNever);
    }

    void send_task(u64 a, u64 b, nb::handle object) { send(a, b, object, kIsTask); }

    nb::object receive(nb::handle timeout) {
        Message m;
        if (!take_message(m, deadline_for(true, timeout))) return nb::none();
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
    bool receive_into(nb::list inbox, nb::handle timeout) {
        Message m;
        if (!take_message(m, deadline_for(true, timeout))) return false;
        inbox.append(unpack(m));
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

    // Takes out the messages of tasks that were given up, and puts the others back in their order. The numbers of those that
    // are gone: where there is no memory to put one back, it is among them.
    nb::list drop(const nb::list& numbers) {
        nb::list dropped;
        auto v = view();
        Message m;
        for (u64 n = v.length(); n > 0 && v.try_take(m, false); --n) {
            const bool unwanted = PySequence_Contains(numbers.ptr(), nb::int_(m.a).ptr()) == 1;
            if (!unwanted && v.try_put(m) == Sent::ok) continue;
            v.free_blocks(m);
            dropped.append(m.a);
        }
        return dropped;
    }

    // See look_soon in park.hpp; kept by the next receive(), or by break_promise().
    void promise_look() { look_soon(core().seg, channel().items); }
    void break_promise() {
        if (looked(core().seg, channel().items)) notify_one(channel().items);
    }

    bool empty() { return !view().has_item(); }
    bool full() { return channel().bound != 0 && !view().has_room(); }
    u64 length() { return view().length(); }
    i64 bound() const { return static_cast<i64>(channel().bound); }
    void close() { closed_ = true; }
    bool closed() const { return closed_; }
    u64 offset() const { return held_.offset(); }

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

    Channel& channel() const { return core().seg.at<Channel>(held_.offset()); }
    ChannelView view() const {
        Core& c = core();
        return {c.seg, c.arena, channel()};
    }

    bool put_message(Message& m, i64 deadline) {
        Sent sent = Sent::full;
        auto v = view();
        bool in_time = false;
        try {
            in_time = wait_python(channel().room, deadline, [&] { return (sent = v.try_put(m)) != Sent::full; },
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

    bool take_message(Message& m, i64 deadline) {
        auto v = view();
        return wait_python(channel().items, deadline, [&] { return v.try_take(m); }, [&] { return v.has_item(); });
    }

    Held held_;
    bool closed_ = false;
};

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

    nb::class_<PyChannel>(m, "Channel", nb::is_weak_referenceable())
        .def(nb::init<i64, u64>(), nb::arg("bound") = 0, nb::arg("offset") = 0)
        .def("put", &PyChannel::put, nb::arg("obj").none(), nb::arg("block") = true, nb::arg("timeout") = nb::none())
        .def("get", &PyChannel::get, nb::arg("block") = true, nb::arg("timeout") = nb::none())
        .def("send", &PyChannel::send, nb::arg("a"), nb::arg("b"), nb::arg("obj").none(), nb::arg("flags") = 0)
        .def("send_task", &PyChannel::send_task, nb::arg("a"), nb::arg("b"), nb::arg("obj").none())
        .def("receive", &PyChannel::receive, nb::arg("timeout") = nb::none())
        .def("receive_into", &PyChannel::receive_into, nb::arg("inbox"), nb::arg("timeout") = nb::none())
        .def("take_beyond", &PyChannel::take_beyond, nb::arg("a"))
        .def("drop", &PyChannel::drop, nb::arg("numbers"))
        .def("promise_look", &PyChannel::promise_look)
        .def("break_promise", &PyChannel::break_promise)
        .def("empty", &PyChannel::empty)
        .def("full", &PyChannel::full)
        .def("qsize", &PyChannel::length)
        .def("close", &PyChannel::close)
        .def_prop_ro("bound", &PyChannel::bound)
        .def_prop_ro("closed", &PyChannel::closed)
        .def_prop_ro("offset", &PyChannel::offset);

    // The pool worker's record in the segment: where its death is to be reported.
    m.def("set_crew", [](u64 offset) { core().seg.participant(core().seg.me).crew.store(offset); }, nb::arg("offset"));
    // Ctrl-C broke off the only call that waited for the task: true if the worker is at it, and now finds it given up.
    m.def("give_up_task", [](u32 pid, const nb::list& numbers) {
        const Segment& seg = core().seg;
        const Slot slot = slot_of(seg, pid);
        if (slot == 0) return false;
        Participant& p = seg.participant(slot);
        const u64 task = p.task.load();
        if (PySequence_Contains(numbers.ptr(), nb::int_(task).ptr()) != 1) return false;
        p.given_up.store(task);
        return true;
    }, nb::arg("pid"), nb::arg("numbers"));
    m.def("is_given_up", [] { return core().seg.participant(core().seg.me).is_given_up(); });
    m.def("set_task", [](u64 task) { core().seg.participant(core().seg.me).task.store(task); }, nb::arg("task"));
}

}  // namespace allcores::bindings
