// Every single instruction: an operation is killed, or held up, after its first instruction, its second, and so on, and
// what is left must be right each time. The processor's trap flag does it: a SIGTRAP after each instruction.
//
// Sanitizers put their own instructions between, and other processors trap otherwise: for them ALLCORES_TRAPS is not set.
#pragma once

#include "messages.hpp"

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#define ALLCORES_TRAPS

#include <x86intrin.h>

namespace check {

inline constexpr unsigned long long kTrap = 0x100;

// Where one process waits in the middle of an operation, and how the other lets it go on.
struct Pause {
    Gate reached, go_on;
    std::atomic<u32> finished;  // the operation was over before
};

inline volatile long steps_left = 0;
inline Pause* pause_here = nullptr;  // none: die here

inline void on_trap(int, siginfo_t*, void* context) {
    steps_left = steps_left - 1;
    if (steps_left > 0) return;
    if (pause_here == nullptr) die();
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] &= ~static_cast<long long>(kTrap);
    pause_here->reached.open();
    pause_here->go_on.pass();
}

template <class F>
void run_until_step(long steps, Pause* pause, F&& operation) {
    struct sigaction action {};
    action.sa_sigaction = on_trap;
    action.sa_flags = SA_SIGINFO;
    CHECK(sigaction(SIGTRAP, &action, nullptr) == 0);
    steps_left = steps;
    pause_here = pause;
    operation();
    __writeeflags(__readeflags() & ~kTrap);
}

// In an operation, where its counted instructions begin: a step takes microseconds, so preparations go before this.
inline void step_from_here() { __writeeflags(__readeflags() | kTrap); }

// Runs `operation` in processes that are killed after 1, 1 + stride, 1 + 2 * stride ... instructions (after thousands more
// sparsely), until one gets through. After each, check_after(pid, finished): it settles what is left, and prepares the next.
template <class F, class G>
void kill_at_every_step(World& w, long stride, F&& operation, G&& check_after) {
    long steps = 1;
    for (bool finished = false; !finished; steps += stride * (1 + steps / 1000)) {
        const pid_t pid = w.start([&] { run_until_step(steps, nullptr, operation); });
        const int status = reap(pid);
        finished = went_well(status);
        CHECK(finished || was_killed(status));
        check_after(pid, finished);
    }
    CHECK(steps > 20);  // that there were steps at all
}

// Likewise, but at each step `meanwhile()` runs in this process before the other goes on to its end; then
// check_after(pid), of a process that has ended well and is not settled. After `dense` instructions more sparsely.
template <class F, class G, class H>
void hold_up_at_every_step(World& w, long stride, F&& operation, G&& meanwhile, H&& check_after, long dense = 1000) {
    Pause& pause = shared<Pause>();
    long steps = 1;
    for (bool finished = false; !finished; steps += stride * (1 + steps / dense * (steps / dense))) {
        new (&pause) Pause{};
        const pid_t pid = w.start([&] {
            run_until_step(steps, &pause, operation);
            pause.finished.store(1);
            pause.reached.open();
            pause.go_on.pass();
        });
        pause.reached.pass();
        finished = pause.finished.load() != 0;
        meanwhile();
        pause.go_on.open();
        CHECK(went_well(reap(pid)));
        check_after(pid);
    }
    CHECK(steps > 20);
}

inline u64 take(World& w, Channel& c) {
    Message m;
    if (!w.view(c).try_take(m)) return 0;
    m.root != 0 ? accept_blocks(w, m) : check_inline(m);
    return m.a;
}
inline void put(World& w, Channel& c, const Message& m) { CHECK(w.view(c).try_put(m) == Sent::ok); }

// The same as operations: without checks, whose instructions are not of interest. Blocks go back unread.
inline u64 step_take(World& w, Channel& c) {
    Message m;
    step_from_here();
    if (!w.view(c).try_take(m)) return 0;
    w.view(c).free_blocks(m);
    return m.a;
}
inline bool step_put(World& w, Channel& c, const Message& m) {
    step_from_here();
    return w.view(c).try_put(m) == Sent::ok;
}

// As a task, so that a consumer killed with it has to tell.
inline Message task(Message m) {
    m.flags = kIsTask;
    return m;
}

// An unbounded channel whose first ring is closed, and drained: the next item is kFirstRing + 1 in the second.
inline Channel& about_to_leave_a_ring(World& w) {
    Channel& c = w.channel(0);
    for (u64 i = 1; i <= kFirstRing + 1; ++i) put(w, c, task(inline_message(i)));
    for (u64 i = 1; i <= kFirstRing; ++i) CHECK_EQ(take(w, c), i);
    return c;
}

}  // namespace check

#endif
