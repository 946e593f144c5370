// Lock and RLock for Python, and what every blocked acquire goes through: the death of the owner, and deadlocks.
// Over its size by the texts of its errors.
#include "arguments.hpp"

#include <nanobind/stl/string.h>

#include <string>

namespace allcores::bindings {

namespace {

PyObject* owner_died = nullptr;
PyObject* deadlock_error = nullptr;
PyObject* others_here = nullptr;
PyObject* line_of_caller = nullptr;

// Texts of this process for others to read, each once, in one block that ends with the process.
struct Texts {
    static constexpr u64 kBytes = 64 << 10;
    const pid_t owner = getpid();
    BlockId block = 0;
    u64 used = 0;
    std::unordered_map<std::string, u64> offsets;

    u64 offset(const std::string& text) {
        Core& c = core();
        const auto found = offsets.find(text);
        if (found != offsets.end()) return found->second;
        if (block == 0) block = c.arena.take(kBytes);
        if (block == 0 || used + text.size() + 1 > kBytes) return 0;
        char* at = c.arena.data(block) + used;
        std::memcpy(at, text.c_str(), text.size() + 1);
        used += text.size() + 1;
        return offsets[text] = c.seg.offset_of(at);
    }
};

// Where in the user's program this thread is, if that is to be traced.
u64 here() {
    Core& c = core();
    if (!c.trace_locks) return 0;
    static Texts* texts = new Texts;
    const nb::handle caller(python_name(line_of_caller, "allcores.sync", "_line_of_caller"));
    nb::object line = in_python([&] { return caller(); });
    std::lock_guard guard(c.mutex);
    if (texts->owner != getpid()) texts = new Texts;  // those are the parent's, which goes on writing to its block
    nb::object bytes = nb::steal(PyUnicode_AsEncodedString(line.ptr(), "utf-8", "replace"));
    if (!bytes.is_valid()) throw nb::python_error();
    return texts->offset(PyBytes_AS_STRING(bytes.ptr()));
}

// Text from shared memory: cut in the middle of a character, or of a process that has ended, it may be no UTF-8.
nb::str as_str(const char* text, u64 most) {
    PyObject* made = PyUnicode_DecodeUTF8(text, static_cast<Py_ssize_t>(strnlen(text, most)), "ignore");
    if (made == nullptr) throw nb::python_error();
    return nb::steal<nb::str>(made);
}

nb::str text_at(u64 offset) {
    Core& c = core();
    if (offset < kBlocksAt || offset + 256 > c.seg.bytes) return nb::str("");
    return as_str(&c.seg.at<char>(offset), 255);
}

nb::str name_in(const Name& name) {
    char text[33];
    return as_str(name.get(text), 32);
}

nb::str name_of(const LockState& lock) {
    return nb::str((std::string(lock.recursive != 0 ? "RLock-" : "Lock-") + std::to_string(lock.number)).c_str());
}

// (pid, process, thread, lock it waits for, where, where that lock was acquired by its holder)
nb::object describe(const Blocked& b) {
    const Segment& seg = core().seg;
    const Slot slot = static_cast<Slot>(b.thread);
    const LockState& lock = seg.at<LockState>(b.lock);
    return nb::make_tuple(seg.participant(slot).pid.load(), name_in(seg.participant(slot).name), static_cast<u32>(b.thread >> 32),
                          name_of(lock), text_at(b.where), text_at(lock.where.load()));
}

[[noreturn]] void raise_deadlock(const nb::list& members) {
    nb::handle type(python_name(deadlock_error, "allcores.errors", "DeadlockError"));
    PyErr_SetObject(type.ptr(), type(members).ptr());
    throw nb::python_error();
}

// Whether another process could release the lock: it holds a handle, or one is on its way to it, or may be.
bool others_hold(LockState& state) {
    Core& c = core();
    const Object& o = *reinterpret_cast<Object*>(reinterpret_cast<char*>(&state) - sizeof(Object));
    const u32 used = c.seg.header().participants_used.load();
    for (u32 i = 1; i <= used; ++i) {
        const Slot slot = static_cast<Slot>(i);
        const Participant& p = c.seg.participant(slot);
        if (slot == c.seg.me || p.pid.load() == 0 || p.is_template.load() != 0 || c.seg.is_dead(slot)) continue;
        if (is_held_by(o, slot) || state.travelled.load() != 0) return true;
    }
    return static_cast<u32>(o.pins.load()) != 0;
}

// A plain lock that only this thread could release, and this thread waits for it.
void check_alone(LockState& state, u64 where) {
    if (state.recursive != 0 || others_hold(state)) return;
    const nb::handle others(python_name(others_here, "allcores.sync", "_others_here"));
    if (nb::cast<bool>(in_python([&] { return others(); }))) return;
    const Segment& seg = core().seg;
    const u64 word = state.word.load();
    if (word == 0 || (word & kPoisoned) != 0) return;
    nb::list members;
    members.append(describe({this_thread(seg), 0, seg.offset_of(&state), word, where}));
    raise_deadlock(members);
}

}  // namespace

void note_acquired(LockState& lock, u64 where) {
    lock.since.store(coarse_now_ns(), std::memory_order_relaxed);
    lock.where.store(where, std::memory_order_relaxed);
}

void name_lock(LockState& lock) { lock.number = core().seg.header().locks_made.fetch_add(1) + 1; }

void raise_owner_died(LockState& state) {
    const i64 since = state.since.load();
    nb::object held = nb::none();
    if (since != 0) held = nb::float_(static_cast<double>(now_ns() - since) / 1e9);
    nb::handle type(python_name(owner_died, "allcores.errors", "OwnerDied"));
    nb::object error = type.attr("_of")(LockView(core().seg, state).died_pid(), name_in(state.dead), held, name_of(state));
    PyErr_SetObject(type.ptr(), error.ptr());
    throw nb::python_error();
}

// A circle in which somebody else may yet release a lock that is used as a signal for the first time.
static bool may_be_helped(const Cycle& cycle) {
    for (u32 i = 0; i < cycle.size; ++i) {
        if (core().seg.at<LockState>(cycle.member[i].lock).recursive == 0) return true;
    }
    return false;
}

bool wait_for_lock(LockState& state, i64 deadline, u64 flags) {
    const Segment& seg = core().seg;
    LockView lock(seg, state);
    Acquire got = Acquire::busy;
    if (lock.settle_if_thread_ended()) got = lock.try_acquire(flags);
    if (got == Acquire::owner_died) raise_owner_died(state);
    if (got == Acquire::ok || deadline == 0) return got == Acquire::ok;
    WaitRecord record(seg);
    Cycle cycle;
    bool deadlock = false;
    bool sleeps = false;
    const i64 start = now_ns();
    const u64 where = here();
    const auto look = [&] {
        if (deadline == kNever) check_alone(state, where);
    };
    // At once only where nobody can be on the way to a handle: a worker that is just being started, say.
    if (lock.held_by_me() && state.travelled.load() == 0) look();
    const bool in_time = wait_python(
        state.parking, deadline,
        [&] {
            if ((got = lock.try_acquire(flags)) != Acquire::busy) return true;
            if (!sleeps) return false;
            deadlock = record.closes(cycle) && (now_ns() - start >= kNet || !may_be_helped(cycle));
            return deadlock || (lock.settle_if_thread_ended() && (got = lock.try_acquire(flags)) != Acquire::busy);
        },
        [&] { return lock.is_free(); },
        [&] {
            sleeps = true;
            if (deadline == kNever && !record.announced()) record.announce(state, where);
        },
        look);
    if (deadlock) {
        nb::list members;
        for (u32 i = 0; i < cycle.size; ++i) members.append(describe(cycle.member[i]));
        raise_deadlock(members);
    }
    if (got == Acquire::owner_died) raise_owner_died(state);
    return in_time;
}

LockState& lock_of(u64 offset) {
    check_kind(offset, Kind::lock, Kind::data);
    Core& c = core();
    const bool data = c.seg.at<ObjectHead>(offset).kind.load() == static_cast<u32>(Kind::data);
    return data ? c.seg.at<Data>(offset).lock : c.seg.at<Lock>(offset).state;
}

namespace {

u64 make_lock(bool recursive, bool release_on_death) {
    Lock& lock = make_object<Lock>(Kind::lock);
    lock.state.recursive = recursive ? 1 : 0;
    lock.state.released_on_death = release_on_death ? 1 : 0;
    name_lock(lock.state);
    return core().seg.offset_of(&lock);
}

// A lock of its own, or the one inside a Value or Array.
class PyLock {
public:
    PyLock(bool recursive, bool release_on_death, u64 offset)
        : held_(offset != 0 ? checked(offset) : make_lock(recursive, release_on_death)),
          state_(lock_of(held_.offset())),
          seg_(core().seg) {}

    bool acquire(const WaitArguments& given) {
        // Before: what runs Python may raise, and then nothing has been taken.
        const u64 where = core().trace_locks ? here() : 0;
        const Acquire got = LockView(seg_, state_).try_acquire();
        if (got == Acquire::busy && !wait_for_lock(state_, given.deadline(), 0)) return false;
        if (got == Acquire::owner_died) raise_owner_died(state_);
        if (state_.depth > 1) return true;
        note_acquired(state_, where);
        return true;
    }

    void release() {
        switch (LockView(seg_, state_).release()) {
            case Release::ok: return;
            case Release::not_held:  // a recursive lock says not_owner instead
                raise_python(PyExc_ValueError, "release() of a lock that is not held: acquire() it first, and release it once");
            case Release::not_owner:
                raise_python(PyExc_AssertionError,
                             "attempt to release recursive lock not owned by thread: an RLock is released by the thread that "
                             "acquired it; use a Lock to release from elsewhere");
        }
    }

    bool locked() const { return !LockView(seg_, state_).is_free(); }
    bool held_by_me() const { return LockView(seg_, state_).held_by_me(); }
    bool recover() { return LockView(seg_, state_).mend(); }
    bool recursive() const { return state_.recursive != 0; }
    nb::str name() const { return name_of(state_); }
    u64 offset() const { return held_.offset(); }
    LockState& state() const { return state_; }

private:
    static u64 checked(u64 offset) {
        check_kind(offset, Kind::lock, Kind::data);
        return offset;
    }

    Held held_;
    LockState& state_;
    const Segment& seg_;
};

PyLock& self_of(PyObject* self) { return *ready<PyLock>(self); }

PyObject* lock_acquire(PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* names) {
    WaitArguments given;
    if (!given.read("acquire", false, args, n, names)) return nullptr;
    return as_slot([&] { return Py_NewRef(self_of(self).acquire(given) ? Py_True : Py_False); }, nullptr);
}

PyObject* lock_enter(PyObject* self, PyObject*) {
    return as_slot([&] { return Py_NewRef(self_of(self).acquire({}) ? Py_True : Py_False); }, nullptr);
}

PyObject* lock_release(PyObject* self, PyObject*) {
    return as_slot([&] {
        self_of(self).release();
        return Py_NewRef(Py_None);
    }, nullptr);
}

// An error that a Condition's wait() left behind without the lock, as OwnerDied is, must not free it for somebody else, nor end
// the poison.
PyObject* lock_exit(PyObject* self, PyObject* const* error, Py_ssize_t n) {
    if (n > 0 && error[0] != Py_None && nb::inst_ready(self) && !self_of(self).held_by_me()) return Py_NewRef(Py_None);
    return lock_release(self, nullptr);
}

PyMethodDef lock_methods[] = {
    {"acquire", as_method(lock_acquire), METH_FASTCALL | METH_KEYWORDS,
     "acquire($self, block=True, timeout=None)\n--\n\nTake the lock; waits for it if `block`, at most `timeout` seconds. "
     "False: it was not free in time.\n\nRaises OwnerDied if a process died with it, DeadlockError if it could never be free."},
    {"release", lock_release, METH_NOARGS, "release($self)\n--\n\nFree the lock."},
    {"__enter__", lock_enter, METH_NOARGS, nullptr},
    {"__exit__", as_method(lock_exit), METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot lock_slots[] = {{Py_tp_methods, lock_methods}, {0, nullptr}};

}  // namespace

void bind_lock(nb::module_& m) {
    nb::class_<PyLock>(m, "Lock", nb::is_weak_referenceable(), nb::type_slots(lock_slots))
        .def(nb::init<bool, bool, u64>(), nb::arg("recursive") = false, nb::arg("release_on_death") = false,
             nb::arg("offset") = 0)
        .def("locked", &PyLock::locked)
        .def("_is_mine", &PyLock::held_by_me)
        .def("recover", &PyLock::recover)
        .def_prop_ro("recursive", &PyLock::recursive)
        .def_prop_ro("name", &PyLock::name)
        .def_prop_ro("offset", &PyLock::offset);
    m.def("trace_locks", [](bool on) { bare_core().trace_locks = on; }, nb::arg("on"));
    // Its handle is about to be pickled: from now on it may be held where nothing here tells of it.
    m.def("travels", [](u64 handle) {
        const u64 offset = offset_of(handle);
        const u32 kind = core().seg.at<ObjectHead>(offset).kind.load();
        if (kind == static_cast<u32>(Kind::lock) || kind == static_cast<u32>(Kind::data)) lock_of(offset).travelled.store(1);
    }, nb::arg("handle"));
}

}  // namespace allcores::bindings
