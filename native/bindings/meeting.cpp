// Condition and Barrier for Python.
#include "core.hpp"

#include <nanobind/stl/string.h>

namespace allcores::bindings {

namespace {

PyObject* broken_barrier = nullptr;

// Beside a lock: waiting lets go of it. Which lock that is says the handle, `sync.Condition`.
class PyCondition {
public:
    explicit PyCondition(u64 offset) : held_(offset != 0 ? checked(offset) : make()) {}

    // Whether it was notified in time. The lock, held by this thread, is let go of and acquired again.
    bool wait(u64 lock_at, nb::handle timeout) {
        const i64 deadline = deadline_for(true, timeout);
        LockState& state = lock_of(lock_at);
        LockView lock(core().seg, state);
        Condition::Cell* cell = view().enter();
        if (cell == nullptr) raise_python(PyExc_RuntimeError, "1024 threads wait for this condition already: let some go on first");
        const u32 depth = lock.let_go_of();
        bool woken = false;
        try {
            // Whoever was to notify may have died with the lock: recovery lets all here look again.
            woken = wait_python(
                cell->parking, deadline, [&] { return ConditionView::is_notified(*cell) || lock.died_pid() != 0; },
                [] { return false; }, [] {}, [&] { lock.settle_if_thread_ended(); });
        } catch (nb::python_error&) {
            pass_on(*cell);
            take_back(lock, state, depth);
            throw;
        }
        const bool notified = !ConditionView::give_up(*cell);
        try {
            take_back(lock, state, depth);
        } catch (nb::python_error&) {
            if (notified) pass_on(*cell);
            throw;
        }
        if (notified) ConditionView::leave(*cell);
        return notified || woken;
    }

    void notify(u64 n) { view().notify(n); }
    u64 waiting() const { return view().waiting(); }
    u64 offset() const { return held_.offset(); }

private:
    static u64 checked(u64 offset) {
        check_kind(offset, Kind::condition, Kind::condition);
        return offset;
    }
    // Only its head is set up: cells are when they are first used, so that memory comes with waiters.
    static u64 make() {
        Core& c = core();
        const BlockId block = c.arena.take_sparse(sizeof(Condition));
        if (block == 0) raise_no_memory(sizeof(Condition));
        Condition& made = *reinterpret_cast<Condition*>(c.arena.data(block));
        made.ticket.store(0);
        made.used.store(0);
        become_object(c.seg, c.arena, made.object, block, Kind::condition);
        return c.seg.offset_of(&made);
    }
    // Leaves; a notification that came is for another, since this wait ends by an error.
    void pass_on(Condition::Cell& cell) const {
        if (!ConditionView::give_up(cell)) {
            view().notify(1);  // first: killed in between, recovery does it again
            ConditionView::leave(cell);
        }
    }
    static void take_back(LockView& lock, LockState& state, u32 depth) {
        const Acquire got = lock.try_acquire();
        if (got == Acquire::busy) wait_for_lock(state, kNever, 0);
        if (got == Acquire::owner_died) raise_owner_died(state);
        note_acquired(state);
        lock.take_back(depth);
    }
    ConditionView view() const { return {core().seg, core().seg.at<Condition>(held_.offset())}; }

    Held held_;
};

class PyBarrier {
public:
    PyBarrier(u32 parties, u64 offset) : held_(offset != 0 ? checked(offset) : make(parties)) {}

    // Which of the parties this one is; the one that gets `parties` or more is the last: it runs the action and calls trip().
    // The action is called here, not by the caller: an interrupt that came in between would leave the others waiting.
    u32 wait(nb::handle timeout, nb::handle action) {
        const i64 deadline = deadline_for(true, timeout);
        BarrierView b = view();
        auto arrived = BarrierView::Arrived::busy;
        u64 word = 0;
        u32 index = 0;
        // The timeout is for those of its own phase: the one before it ends without this party.
        wait_python(state().parking, kNever,
                    [&] { return (arrived = b.arrive(word, index)) != BarrierView::Arrived::busy; }, [] { return false; });
        if (arrived == BarrierView::Arrived::last) {
            run(action, word);
            if (!b.trip(word)) raise_broken();
            return index;
        }
        bool well = false;
        if (arrived == BarrierView::Arrived::yes) {
            try {
                wait_python(state().parking, deadline, [&] { return b.ended(word, well); }, [] { return false; });
            } catch (nb::python_error&) {
                b.break_phase(word);  // as the standard does: this party does not come
                throw;
            }
        }
        if (!well && arrived != BarrierView::Arrived::broken) {
            b.break_phase(word);  // not in time: the others need not wait for one who does not
            // Unless all were there before: then whoever runs the action ends it.
            if (arrived == BarrierView::Arrived::yes)
                wait_python(state().parking, kNever, [&] { return b.ended(word, well); }, [] { return false; });
        }
        if (!well) raise_broken();
        return index;
    }

    void abort() { view().break_it(); }
    void reset() { view().reset(); }
    bool broken() const { return view().is_broken(); }
    u32 waiting() const { return view().waiting(); }
    u32 parties() const { return state().parties; }
    u64 offset() const { return held_.offset(); }

private:
    static u64 checked(u64 offset) {
        check_kind(offset, Kind::barrier, Kind::barrier);
        return offset;
    }
    static u64 make(u32 parties) {
        Barrier& b = make_object<Barrier>(Kind::barrier, Barrier::bytes_for(parties));
        b.parties = parties;
        return core().seg.offset_of(&b);
    }
    void run(nb::handle action, u64 word) const {
        if (action.is_none()) return;
        try {
            in_python([&] { return action(); });
        } catch (...) {
            view().break_tripping(word);
            throw;
        }
    }
    [[noreturn]] void raise_broken() const {
        Barrier& b = state();
        char name[33];
        const u64 pid = b.died_pid.load();
        std::string text = "the barrier is broken";
        if (pid != 0) text += ": process " + std::to_string(pid) + " (" + b.dead.get(name) + ") died, which shared it";
        text += "; reset() mends it";
        raise_python(python_name(broken_barrier, "threading", "BrokenBarrierError"), text.c_str());
    }
    Barrier& state() const { return core().seg.at<Barrier>(held_.offset()); }
    BarrierView view() const { return {core().seg, state()}; }

    Held held_;
};

}  // namespace

void bind_meeting(nb::module_& m) {
    nb::class_<PyCondition>(m, "Condition", nb::is_weak_referenceable())
        .def(nb::init<u64>(), nb::arg("offset") = 0)
        .def("_wait", &PyCondition::wait, nb::arg("lock"), nb::arg("timeout").none())
        .def("_notify", &PyCondition::notify, nb::arg("n"))
        .def("_waiting", &PyCondition::waiting)
        .def_prop_ro("offset", &PyCondition::offset);
    nb::class_<PyBarrier>(m, "Barrier", nb::is_weak_referenceable())
        .def(nb::init<u32, u64>(), nb::arg("parties") = 1, nb::arg("offset") = 0)
        .def("_wait", &PyBarrier::wait, nb::arg("timeout").none(), nb::arg("action").none())
        .def("abort", &PyBarrier::abort)
        .def("reset", &PyBarrier::reset)
        .def_prop_ro("broken", &PyBarrier::broken)
        .def_prop_ro("n_waiting", &PyBarrier::waiting)
        .def_prop_ro("parties", &PyBarrier::parties)
        .def_prop_ro("offset", &PyBarrier::offset);
}

}  // namespace allcores::bindings
