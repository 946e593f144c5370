// The workers of pools, for who looks in from outside: what each has done and is at, and which is ready to tell its stacks.
#include "workers.hpp"

#include <nanobind/stl/string.h>

#include <csignal>

namespace allcores::bindings {

namespace {

// (pid, name, task, item, tasks, items, busy, since, life, dumps, dumps_fd); times in seconds: in tasks, in its present state,
// since it was ready, which is 0 only before.
nb::object record_of(const Participant& p, i64 now) {
    const auto seconds = [](i64 ns) { return static_cast<double>(ns < 0 ? 0 : ns) * 1e-9; };
    const auto get = [](const auto& word) { return word.load(std::memory_order_relaxed); };
    const Done& d = p.done;
    const u64 task = task_of(p.task.load(std::memory_order_acquire));
    const i64 state = now - get(d.since), born = get(d.born);
    const i64 busy = get(d.busy) + (task == 0 || born == 0 ? 0 : state);
    char name[33];
    p.name.get(name);
    nb::object text = nb::steal(PyUnicode_DecodeUTF8(name, static_cast<Py_ssize_t>(std::strlen(name)), "ignore"));
    if (!text.is_valid()) throw nb::python_error();
    return nb::make_tuple(get(p.pid), text, task, get(p.item), get(d.tasks), get(d.items), seconds(busy), seconds(state),
                          seconds(born == 0 ? 0 : now - born + 1), get(d.dumps), get(d.dumps_fd));
}

// Those of the pool with this channel of news; 0: of all pools of the program.
nb::list workers(u64 crew) {
    const Segment& seg = core().seg;
    const i64 now = coarse_now_ns();
    nb::list found;
    for (u32 i = 1; i <= seg.header().participants_used.load(); ++i) {
        const Slot slot = static_cast<Slot>(i);
        const Participant& p = seg.participant(slot);
        const u64 its = p.crew.load();
        if (p.pid.load() == 0 || its <= kEndedWell || (crew != 0 && its != crew) || seg.is_dead(slot)) continue;
        found.append(record_of(p, now));
    }
    return found;
}

bool is_handled(int signum) {
    struct sigaction now = {};
    return sigaction(signum, nullptr, &now) != 0 || now.sa_handler != SIG_DFL;
}

// The signal at which faulthandler writes the stacks: at once, in this thread. Not by its option to call the handler that was
// before it: that leaves a moment without its own, and for a thread without a core the moment may be long.
int writes_stacks = 0;

// Before and after it a mark: who asked before, and had no answer, emptied the file perhaps in the middle of one.
void answer_stacks(int) {
    const int before = errno;
    const int fd = static_cast<int>(my_done().dumps_fd.load());
    bool written = write(fd, "\x1e", 1) == 1;
    if (is_handled(writes_stacks)) raise(writes_stacks);
    written = write(fd, "\x1f", 1) == 1 && written;
    if (written) my_done().dumps.fetch_add(1);
    tell_several(bare_core().seg);
    errno = before;
}

// To be called when faulthandler writes to the descriptor at `writes`. From then on `signum` is answered.
void offer_stacks(int signum, int writes, u32 fd) {
    writes_stacks = writes;
    struct sigaction action = {};
    action.sa_handler = &answer_stacks;
    action.sa_flags = SA_RESTART | SA_ONSTACK;
    if (sigaction(signum, &action, nullptr) != 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        throw nb::python_error();
    }
    my_done().dumps_fd.store(fd);
}

}  // namespace

void bind_workers(nb::module_& m) {
    m.def("workers", &workers, nb::arg("crew"));
    m.def("is_handled", &is_handled, nb::arg("signum"));
    m.def("offer_stacks", &offer_stacks, nb::arg("signum"), nb::arg("writes"), nb::arg("fd"));
}

}  // namespace allcores::bindings
