// The segment of this process, and the module. Everything else has a file of its own beside this one.
#include "core.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <csignal>
#include <thread>
#include <vector>

namespace allcores::bindings {

namespace {

[[noreturn]] void raise_full() {
    raise_python(PyExc_RuntimeError, "this program already has 1024 processes that share memory: let some end first");
}

}  // namespace

void prepare_core() {
    static PyObject* join = nullptr;
    nb::handle(python_name(join, "allcores.segment", "join"))();
    if (the_core->seg.me == 0) raise_full();  // a fork that got no slot; everything below names its owner
}

PyObject* python_name(PyObject*& cache, const char* module, const char* name) {
    if (cache == nullptr) cache = nb::object(nb::module_::import_(module).attr(name)).release().ptr();
    return cache;
}

void raise_python(PyObject* type, const char* text) {
    PyErr_SetString(type, text);
    throw nb::python_error();
}

void raise_no_memory(u64 bytes) {
    const Segment& seg = bare_core().seg;
    const double kMb = 1e6;
    const u64 used = std::min(seg.header().next_byte.load(), seg.bytes);
    const u64 available = available_memory("");
    char text[600];
    std::snprintf(text, sizeof text,
                  "%.1f MB of shared memory are needed; to be had are %.1f MB of the %.1f MB of addresses that this program has for "
                  "it, and %.1f MB of memory, of the machine or of this container: send smaller pieces, let go of arrays that are "
                  "not needed any more, or raise the limit of the %s",
                  bytes / kMb, (seg.bytes - used) / kMb, seg.bytes / kMb, available / kMb,
                  available > bytes + kReserve ? "address space (ulimit -v)" : "memory");
    PyErr_SetString(PyExc_MemoryError, text);
    throw nb::python_error();
}

i64 deadline_for(bool block, nb::handle timeout) {
    if (!block) return 0;
    if (timeout.is_none()) return kNever;
    const double seconds = PyFloat_AsDouble(timeout.ptr());
    if (seconds == -1.0 && PyErr_Occurred() != nullptr) throw nb::python_error();
    if (!(seconds > 0)) return 0;
    // A timeout of centuries is for ever; the sum would overflow.
    return seconds > 1e9 ? kNever : now_ns() + static_cast<i64>(seconds * 1e9);
}

Held::Held(u64 handle) : handle_(handle) {
    Core& c = core();
    std::lock_guard guard(c.mutex);
    if (c.holds[handle]++ == 0) hold_handle(c.seg, c.arena, handle, c.seg.me);
}

Held::~Held() {
    Core& c = bare_core();
    if (c.seg.me == 0) return;  // a fork for which there was no room: it never held anything
    std::lock_guard guard(c.mutex);
    if (--c.holds[handle_] != 0) return;
    c.holds.erase(handle_);
    Object& o = object();
    if (side_of(handle_) != 0) PipeView(c.seg, c.arena, reinterpret_cast<Pipe&>(o)).let_go(side_of(handle_), c.seg.me);
    else if (let_go(c.arena, o, c.seg.me)) end_object(c.seg, c.arena, o);
}

// Robust locks belong to threads: `life` must be held by one that lives as long as the process. The main thread does;
// where another thread is the first to need the segment, a thread is started that does nothing else.
void join_for_life(Segment& seg) {
    bool joined = false;
    if (gettid() == getpid()) {
        joined = join_segment(seg);
    } else {
        std::atomic<u32> done{0};
        std::thread([&seg, &joined, &done] {
            sigset_t all;
            sigfillset(&all);
            pthread_sigmask(SIG_BLOCK, &all, nullptr);
            joined = join_segment(seg);
            done.store(1);
            futex_wake(done, 1);
            for (;;) pause();
        }).detach();
        while (done.load() == 0) futex_wait(done, 0, kNever);
    }
    if (!joined) raise_full();
}

void check_kind(u64 offset, Kind a, Kind b) {
    Core& c = core();
    const u32 kind = is_object_at(c.seg, c.arena, offset) ? c.seg.at<ObjectHead>(offset).kind.load() : 0;
    if (kind == static_cast<u32>(a) || kind == static_cast<u32>(b)) return;
    raise_python(PyExc_ValueError, "this handle names nothing in this program's shared memory: it comes from another "
                                   "program, or what it named has ended");
}

namespace {

void create(u64 bytes, u32 cpus, u64 program, u64 warm, u32 idle) {
    Core& c = bare_core();
    if (!create_segment(c.seg, bytes, kBlocksAt + (64 << 20), kBlocksAt, cpus, program, warm, idle)) {
        PyErr_SetFromErrno(PyExc_OSError);
        throw nb::python_error();
    }
    join_for_life(c.seg);
    c.seg.participant(c.seg.me).name.set("MainProcess");
}

// For a fork that found no room when it was made.
void join() { join_for_life(bare_core().seg); }

void attach(int fd, bool worker) {
    Core& c = bare_core();
    if (!attach_segment(c.seg, fd)) {
        PyErr_SetFromErrno(PyExc_OSError);
        throw nb::python_error();
    }
    join_for_life(c.seg);
    // The template only waits: it does not count as one who needs a CPU.
    if (worker) return;
    c.seg.set_runnable(false);
    c.seg.participant(c.seg.me).is_template.store(1);
}

// Of the tuple that tells of a death (deaths.py): how long the item had run, and what the dead said last.
constexpr Py_ssize_t kSeconds = 4, kSaid = 5;

nb::tuple with_seconds(const nb::tuple& body, i64 ran) {
    nb::list told;
    for (const nb::handle each : body) {
        if (ran >= 0 && nb::len(told) == kSeconds) told.append(static_cast<double>(ran) * 1e-9);
        else told.append(each);
    }
    return nb::tuple(told);
}

// To the pool of a worker that died: (task, died | item << 8, body), the body a tuple that may be cut at its end.
void report_death(u64 crew, u64 task, u32 item, nb::tuple body, u32 died) {
    Core& c = core();
    Message m;
    try {
        encode(body, m);
    } catch (nb::python_error&) {  // no block is left for what it said last; the rest needs none
        encode(nb::steal(PyTuple_GetSlice(body.ptr(), 0, kSaid)), m);
    }
    m.a = task;
    m.b = died | static_cast<u64>(item) << 8;
    // Held, so that recovery looks at it should this process be killed in the put.
    const Held held(crew);
    auto channel = ChannelView(c.seg, c.arena, c.seg.at<Channel>(crew));
    if (channel.try_put(m) != Sent::ok) channel.free_blocks(m);
}

// The most memory that a child of this process had, in bytes. It has ended, and is not waited for yet.
u64 peak_memory(int pid) {
    siginfo_t info{};
    rusage used{};
    // The C library's waitid() leaves out what the kernel's tells.
    const long failed = syscall(SYS_waitid, P_PID, pid, &info, WEXITED | WNOWAIT, &used);
    return failed != 0 ? 0 : static_cast<u64>(used.ru_maxrss) << 10;
}

}  // namespace

// Settles the death of the process `pid`, and tells its pool, if it worked for one. True if it did, or had told it itself.
bool recover_process(u32 pid, nb::tuple body, u32 died) {
    Core& c = core();
    const Recovering one_at_a_time(c.seg);
    const Slot dead = slot_of(c.seg, pid);
    if (dead == 0) return false;
    bool reported = false;
    const nb::object exitcode = body[1];  // None: nobody was there to be told
    const bool killed = !exitcode.is_none() && nb::cast<int>(exitcode) != 0;
    recover(c.seg, c.arena, dead, [&](const LastWords& words) {
        reported = words.crew != 0;
        if (words.crew == 0 || words.crew == kEndedWell) return;
        report_death(words.crew, words.task, words.item, with_seconds(body, words.ran), died);
    }, killed);
    free_slot(c.seg, dead);
    return reported;
}

// The pids of participants that the kernel says are dead: those that no template will settle, or all.
std::vector<u32> dead_pids(bool all) {
    Core& c = core();
    std::vector<u32> pids;
    const u32 used = c.seg.header().participants_used.load();
    for (u32 i = 1; i <= used; ++i) {
        const Participant& p = c.seg.participant(static_cast<Slot>(i));
        const u32 pid = p.pid.load();
        if (pid != 0 && c.seg.is_dead(static_cast<Slot>(i)) && (all || p.supervised.load() == 0)) pids.push_back(pid);
    }
    return pids;
}

NB_MODULE(_native, m) {
    m.doc() = "The shared-memory core. Internal: use the names of allcores instead.";
    // Shared objects live in globals until the very exit; that is no leak.
    nb::set_leak_warnings(false);

    m.def("create", &create, nb::arg("size"), nb::arg("cpus"), nb::arg("program"), nb::arg("warm"),
          nb::arg("idle"));
    m.def("attach", &attach, nb::arg("fd"), nb::arg("worker"));
    m.def("join", &join);
    m.def("available_memory", [](const std::string& root) { return available_memory(root.c_str()); }, nb::arg("root") = "");
    m.def("has_segment", [] { return bare_core().seg.base != nullptr; });
    m.def("segment_fd", [] { return core().seg.fd; });
    m.def("program", [] { return core().seg.header().program; });
    m.def("creator", [] {
        const Header& h = core().seg.header();
        return nb::make_tuple(h.creator_pid, h.creator_fd);
    });
    m.def("recover_process", &recover_process, nb::arg("pid"), nb::arg("body"), nb::arg("died"));
    m.def("report_death", &report_death, nb::arg("crew"), nb::arg("task"), nb::arg("item"), nb::arg("body"),
          nb::arg("died"));
    m.def("peak_memory", &peak_memory, nb::arg("pid"));
    m.def("dead_pids", &dead_pids, nb::arg("all"));
    m.def("on_long_wait", [](nb::object f) { bare_core().look_around = f.release().ptr(); }, nb::arg("callback"));
    m.def("set_name", [](const std::string& name) { core().seg.participant(core().seg.me).name.set(name.c_str()); },
          nb::arg("name"));
    m.def("pin", [](u64 handle) { pin_handle(core().seg, core().arena, handle); }, nb::arg("handle"));
    m.def("unpin", [](u64 handle) { unpin_handle(core().seg, core().arena, handle); }, nb::arg("handle"));

    bind_codec(m);
    bind_channel(m);
    bind_lock(m);
    bind_sync(m);
    bind_meeting(m);
    bind_shared(m);
    bind_memory(m);
    bind_fields(m);
    bind_chunk(m);
    bind_record(m);
    bind_statistics(m);
    bind_pipe(m);
    bind_several(m);
    bind_workers(m);
    bind_title(m);
    bind_fork(m);
}

}  // namespace allcores::bindings
