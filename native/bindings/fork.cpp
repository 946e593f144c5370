// Forking, by the user or by ourselves: what this process holds passes to the child as well. And what a child needs so that it
// does not outlive who watches over it.
#include "core.hpp"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <csignal>
#include <mutex>
#include <utility>

namespace allcores::bindings {

namespace {

// A fork that Python knows of, in the thread that does it: so two threads may be at it at once.
//
//   Python's hook before   says that there will be one
//   fork()                 takes the locks, and pins for the child what is held: without Python in between, whose hooks let
//                          other threads run, which would wait for those locks while they have the GIL
//   Python's hooks after   in the child it takes part in the segment, and holds all that is pinned; the parent may wait for that
struct Forking {
    bool expected = false;
    std::vector<u64> pinned;    // for the child
    bool unpins = false;        // the parent does, once the child holds them all or is dead
    Slot parent = 0;            // in the child
    int birth[2] = {-1, -1};    // the child's sign of life
};
thread_local Forking forking;

// Processes that the user forked are nobody's children here: their deaths are settled when a template wakes for another
// reason, or now, where the table of participants is filling up with them.
void settle_forks() {
    Core& c = bare_core();
    constexpr u32 kFilling = kMaxParticipants - kMaxParticipants / 8;
    if (c.seg.me == 0 || c.seg.header().participants_used.load() < kFilling) return;
    for (const u32 pid : dead_pids(false)) recover_process(pid, nb::make_tuple(pid, nb::none()), 0);
}

void before_fork() {
    settle_forks();
    forking = Forking{};
    forking.expected = true;
}

// What this process holds must not end until the child holds it too.
void prepare_fork() {
    Core& c = bare_core();
    Forking& f = forking;
    if (!f.expected) return;
    c.mutex.lock();
    c.arena.pages().lock();
    ++c.forks;
    for (const auto& [handle, count] : c.holds) f.pinned.push_back(handle);
    for (const u64 handle : f.pinned) pin_handle(c.seg, c.arena, handle);
    if (f.pinned.empty() || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f.birth) != 0) f.birth[0] = f.birth[1] = -1;
    // A child killed before it has taken over a pin leaves it for ever. What that would keep is memory; but of a pipe's side,
    // the end: so there the parent waits, and undoes them itself.
    f.unpins = f.birth[0] >= 0 && std::any_of(f.pinned.begin(), f.pinned.end(), [](u64 h) { return side_of(h) != 0; });
    errno = 0;
}

void forked_in_parent() {
    if (!forking.expected) return;
    bare_core().arena.pages().unlock();
    bare_core().mutex.unlock();
}

// What hooks of others let go of, before ours has been called, is the parent's.
void forked_in_child() {
    Core& c = bare_core();
    if (!forking.expected) return;
    c.arena.pages().unlock();
    new (&c.mutex) std::mutex;  // its owner is a thread of the parent, whose number this one does not have
    forking.parent = std::exchange(c.seg.me, 0);
}

// CPython comes here also when os.fork() has failed, and does not say so; but then errno is set. Is there a child? It writes
// when it has taken over the pins, or its end is closed by its death. Without one, nobody takes them over.
void after_fork_parent() {
    const bool doubtful = errno != 0;
    Core& c = bare_core();
    const Forking f = std::exchange(forking, Forking{});
    if (f.birth[1] >= 0) close(f.birth[1]);
    char sign;
    ssize_t n = 1;
    while ((doubtful || f.unpins) && f.birth[0] >= 0 && (n = read(f.birth[0], &sign, 1)) < 0 && errno == EINTR) {
    }
    if (f.birth[0] >= 0) close(f.birth[0]);
    if (n == 0 || f.unpins) {
        for (const u64 handle : f.pinned) unpin_handle(c.seg, c.arena, handle);
    }
}

void after_fork_child() {
    Core& c = bare_core();
    const Forking f = std::exchange(forking, Forking{});
    tid_cache() = 0;
    ++c.ancestors;
    c.kept.store(0);
    forget_stored();
    if (c.seg.base == nullptr) return;
    if (f.birth[0] >= 0) close(f.birth[0]);
    try {
        if (c.seg.me == 0) join_for_life(c.seg);
    } catch (...) {
        if (f.birth[1] >= 0) close(f.birth[1]);  // or the parent would wait
        throw;
    }
    if (f.parent != 0) c.seg.participant(c.seg.me).name.set(c.seg.participant(f.parent).name);
    for (const auto& [handle, count] : c.holds) hold_handle(c.seg, c.arena, handle, c.seg.me);
    if (!f.unpins) {
        for (const u64 handle : f.pinned) unpin_handle(c.seg, c.arena, handle);
    }
    if (f.birth[1] < 0) return;
    send(f.birth[1], "", 1, MSG_NOSIGNAL);
    close(f.birth[1]);
}

// As os.fork(), with the same hooks, but without its warning about threads: who comes here has asked for `fork` by name. In
// the child all signals are held back until it lets them in: a KeyboardInterrupt out of its first lines would unwind into what
// its parent was doing.
int fork_here() {
    if (PySys_Audit("os.fork", nullptr) < 0) throw nb::python_error();
    sigset_t all, before;
    sigfillset(&all);
    PyOS_BeforeFork();  // these call Python, and may wait for another thread: Ctrl-C is let in meanwhile
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const pid_t pid = fork();
    if (pid == 0) {
        PyOS_AfterFork_Child();
        return 0;
    }
    const int error = errno;
    PyOS_AfterFork_Parent();
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (pid > 0) return pid;
    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    throw nb::python_error();
}

void be_watched() { core().seg.participant(core().seg.me).supervised.store(1); }

// For a child of the template: the kernel kills it when the template ends; if that has happened, it does so itself.
void die_with(int parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) raise(SIGKILL);
    be_watched();
}

// For a child of the user's process: likewise, when the other end of this pipe is closed, or says something. Not by
// PR_SET_PDEATHSIG, which tells of the end of the thread that forked. The descriptor has to stay open.
void die_with_pipe(int fd) {
    const bool set = fcntl(fd, F_SETOWN, getpid()) == 0 && fcntl(fd, F_SETSIG, SIGKILL) == 0 &&
                     fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC) == 0;
    pollfd ended{fd, POLLIN, 0};
    if (!set || poll(&ended, 1, 0) != 0) raise(SIGKILL);
    be_watched();
}

}  // namespace

void bind_fork(nb::module_& m) {
    if (pthread_atfork(&prepare_fork, &forked_in_parent, &forked_in_child) != 0) throw std::bad_alloc();
    m.def("before_fork", &before_fork);
    m.def("after_fork_parent", &after_fork_parent);
    m.def("after_fork_child", &after_fork_child);
    m.def("fork", &fork_here);
    m.def("die_with", &die_with, nb::arg("parent"));
    m.def("die_with_pipe", &die_with_pipe, nb::arg("fd"));
}

}  // namespace allcores::bindings
