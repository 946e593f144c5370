// A pool worker's record in the segment: what it is at, for who reports its death, and for who ends it (condemn.hpp).
#include "workers.hpp"

namespace allcores::bindings {

namespace {

bool contains(nb::handle numbers, u64 number) { return PySequence_Contains(numbers.ptr(), nb::int_(number).ptr()) == 1; }

// The task, of those, that the worker is condemned for now, or was before; 0: it is at none of them.
u64 condemn(u32 pid, const nb::list& numbers) {
    const Segment& seg = core().seg;
    const Slot slot = slot_of(seg, pid);
    if (slot == 0) return 0;
    Participant& p = seg.participant(slot);
    const u64 task = p.task.load();
    if (task == 0 || !contains(numbers, task_of(task))) return 0;
    return task != task_of(task) || condemn_task(p, task) ? task_of(task) : 0;
}

// ([(pid, task, item, limit, nanoseconds)] of the workers that are condemned now, seconds until the next may be or None).
nb::tuple condemn_overdue(const nb::list& pids, u64 crew) {
    const Segment& seg = core().seg;
    nb::list condemned;
    i64 next = 0;
    const i64 now = now_ns();
    for (nb::handle each : pids) {
        const u32 pid = nb::cast<u32>(each);
        const Slot slot = slot_of(seg, pid);
        if (slot == 0) continue;
        Participant& p = seg.participant(slot);
        const Timed timed = condemn_if_overdue(p, crew, now);
        // It waits for its death now, or is in the item: neither of the two changes any more.
        if (timed.condemned) condemned.append(nb::make_tuple(pid, task_of(p.task.load()), p.item.load(), timed.limit,
                                                               timed.ran));
        if (timed.until != 0 && (next == 0 || timed.until < next)) next = timed.until;
    }
    if (next == 0) return nb::make_tuple(condemned, nb::none());
    return nb::make_tuple(condemned, static_cast<double>(next - now) / 1e9);
}

Participant& mine() { return core().seg.participant(core().seg.me); }

}  // namespace

void bind_record(nb::module_& m) {
    // Where its death is to be reported.
    m.def("set_crew", [](u64 offset) { core().seg.participant(core().seg.me).crew.store(offset); }, nb::arg("offset"));
    // Ctrl-C broke off the only call that waited for the task: true if the worker is at it, and now finds it given up.
    m.def("give_up_task", [](u32 pid, const nb::list& numbers) {
        const Segment& seg = core().seg;
        const Slot slot = slot_of(seg, pid);
        if (slot == 0) return false;
        Participant& p = seg.participant(slot);
        const u64 task = p.task.load();
        if (!contains(numbers, task)) return false;
        p.given_up.store(task);
        return true;
    }, nb::arg("pid"), nb::arg("numbers"));
    m.def("is_given_up", [] { return core().seg.participant(core().seg.me).is_given_up(); });
    // Between the jobs of two pools: it works for nobody, and waits outside of the segment.
    m.def("rest", [](bool resting) {
        Participant& p = core().seg.participant(core().seg.me);
        for (auto* word : {&p.task, &p.crew, &p.given_up}) word->store(0);
        core().seg.set_runnable(!resting);
    }, nb::arg("resting"));
    m.def("set_task", [](u64 task) {
        mine().task.store(task);
        mine().done.born.store(0);
        note_task_begun();
    }, nb::arg("task"));
    m.def("condemn", &condemn, nb::arg("pid"), nb::arg("numbers"));
    m.def("condemn_overdue", &condemn_overdue, nb::arg("pids"), nb::arg("crew"));
    // func(*args, **kwds) that may take so many nanoseconds. Here, and not in Python, where Ctrl-C comes between two lines.
    m.def("call_timed", [](nb::handle func, nb::handle args, nb::handle kwds, i64 limit) {
        begin_timed(mine(), now_ns(), limit);
        nb::object result = nb::steal(in_python([&] { return PyObject_Call(func.ptr(), args.ptr(), kwds.ptr()); }));
        end_timed(mine());
        if (!result.is_valid()) throw nb::python_error();
        return result;
    }, nb::arg("func"), nb::arg("args"), nb::arg("kwds"), nb::arg("limit"));
}

}  // namespace allcores::bindings
