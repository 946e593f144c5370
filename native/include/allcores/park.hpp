// Waiting: spin for about the price of a wake-up, then sleep on a word beside the thing waited for.
//
// Each thing that can be waited for has a Parking. A waiter announces itself in it, looks again, and sleeps;
// whoever changes the thing looks at the Parking afterwards. Both orders are sequentially consistent, so one of the
// two always sees the other (Dekker):
//
//     waiter:  announce  ;  look again  ;  sleep           SYNC POINT announce-then-look
//     changer: change    ;  look for announcements         SYNC POINT change-then-look
//
// Nothing here needs repair when a waiter dies: the kernel forgets its sleep, a stale announcement costs one wake
// call, and recovery clears a dead spinner and wakes everybody once, so that a wake-up it took with it is not lost.
#pragma once

#include "segment.hpp"
#include "step.hpp"

namespace allcores {

struct Parking {
    std::atomic<u32> word;     // bit 0: somebody may sleep; bit 1: or waits for this among several; the rest counts wake-ups
    std::atomic<u32> spinner;  // slot of the one who spins: no wake call is needed while there is one
    std::atomic<u32> waking;   // when somebody was woken who has not looked yet, in odd microseconds; 0: nobody
};

static_assert(sizeof(Parking) == 12);

inline constexpr u32 kSleepers = 1;
inline constexpr u32 kSeveral = 2;
inline constexpr u32 kWakeUp = 4;
// A sleep is bounded as a net only: what no event tells (a template that was killed, a spinner that was stopped) is noticed then.
#ifndef ALLCORES_NET_NS  // tests tell the net from a late wake-up, also on a busy machine
#define ALLCORES_NET_NS 1'000'000'000
#endif
inline constexpr i64 kNet = ALLCORES_NET_NS;
// As long as twice a wake-up takes on this machine, which sleepers measure: two that answer each other in less than that would
// else both sleep for ever, each because the other has to be woken first. Shorter parks too early and pays the wake-up, longer
// burns a core that another could use.
inline constexpr i64 kMostSpin = 30'000;
inline constexpr i64 kMostSpinSlowWakes = 120'000;
inline constexpr i64 kLeastSpin = 4'000;
// A wait with two wake-ups in it is still one that spinning could have saved.
inline constexpr i64 kWorthSpinning = 250'000;
inline constexpr int kRelaxes = 4;
// Whoever was woken looks within this many microseconds, or is not counted on: it may be stopped.
inline constexpr u32 kWakesWithin = 200;

enum class Wait : u8 { done, timeout, interrupted };

// Whoever waits for several things looks again. The announcement that was seen is taken down before: one that is put up
// afterwards belongs to who will see this count. Killed in between, recovery does it (recover.hpp).
inline void tell_several(const Segment& seg) {
    auto& several = seg.header().several;
    several.fetch_add(1, std::memory_order_seq_cst);
    futex_wake(several, INT_MAX);
}

inline void notify_all(const Segment& seg, Parking& p) {
    // SYNC POINT change-then-look
    u32 w = p.word.load(std::memory_order_seq_cst);
    while ((w & (kSleepers | kSeveral)) != 0) {
        if (p.word.compare_exchange_weak(w, (w + kWakeUp) & ~(kSleepers | kSeveral))) {
            if ((w & kSleepers) != 0) futex_wake(p.word, INT_MAX);
            STEP("notify.taken_down");
            if ((w & kSeveral) != 0) tell_several(seg);
            return;
        }
    }
}

// One wake-up may stand for several changes: whoever is woken passes it on if there is more (wait_for).
inline void notify_one(const Segment& seg, Parking& p) {
    // SYNC POINT change-then-look
    if (p.spinner.load(std::memory_order_seq_cst) != 0) return;  // it looks again before it sleeps
    const u32 w = p.word.load(std::memory_order_seq_cst);
    if ((w & kSeveral) != 0) {  // they take nothing: whoever sleeps here is woken all the same
        p.word.fetch_and(~kSeveral, std::memory_order_seq_cst);
        STEP("notify.taken_down");
        tell_several(seg);
    }
    if ((w & kSleepers) == 0) return;
    const u32 now = static_cast<u32>(now_ns() / 1000) | 1;
    const u32 woken = p.waking.load(std::memory_order_seq_cst);
    if (woken != 0 && now - woken < kWakesWithin) return;  // it has yet to look
    p.waking.store(now, std::memory_order_seq_cst);
    p.word.fetch_add(kWakeUp);  // whoever is just falling asleep on the old value wakes at once
    if (futex_wake(p.word, 1) == 0) {
        p.waking.store(0, std::memory_order_seq_cst);
        notify_all(seg, p);  // nobody was there: take the announcement down
    }
}

// For recovery: whoever sleeps looks again.
inline void disturb(Parking& p, const Segment& seg) {
    u32 s = p.spinner.load();
    if (s != 0 && seg.is_dead(static_cast<Slot>(s))) p.spinner.compare_exchange_strong(s, 0);
    p.waking.store(0);
    p.word.fetch_add(kWakeUp);
    futex_wake(p.word, INT_MAX);
}

// A promise: this process looks, before it sleeps or ends, so until then no change here needs a wake call. For a worker about
// to send an answer: the next task often comes at once, and should not wake another worker.
inline void look_soon(const Segment& seg, Parking& p) {
    if ((p.word.load(std::memory_order_relaxed) & kSleepers) == 0) return;  // nobody to spare
    u32 nobody = 0;
    p.spinner.compare_exchange_strong(nobody, seg.me);
}

// The promise is kept. True if there was one: changes may have relied on it, so look whether there is more for others.
inline bool looked(const Segment& seg, Parking& p) {
    u32 mine = seg.me;
    return p.spinner.load(std::memory_order_relaxed) == mine && p.spinner.compare_exchange_strong(mine, 0);
}

// How long the last waits of this thread took decides how long the next may spin: long where spinning caught the change, or
// would have; a wait that slept took a wake-up longer than the change did.
struct SpinBudget {
    i64 ns = kMostSpin;
    i64 most = kMostSpin;
    void waited(i64 took) { ns = took < kWorthSpinning ? std::min(most, ns * 4) : std::max(kLeastSpin, ns / 2); }
    void woken_within(i64 took) {
        if (took < kWorthSpinning) most = std::clamp((most + 2 * took) / 2, kMostSpin, kMostSpinSlowWakes);
    }
};

inline SpinBudget& spin_budget() {
    thread_local SpinBudget budget;
    return budget;
}

// One spinner per Parking, and only while every runnable process has a CPU: on a full machine the spinner would
// take the very core that the awaited process needs.
template <class Attempt>
bool spin(const Segment& seg, Parking& p, Attempt&& attempt, i64 deadline) {
    if (seg.me == 0 || seg.runnable() > seg.header().usable_cpus) {
        looked(seg, p);
        return false;
    }
    u32 spinner = 0;
    if (!p.spinner.compare_exchange_strong(spinner, seg.me) && spinner != seg.me) return false;
    const i64 until = std::min(deadline, now_ns() + spin_budget().ns);
    bool got = false;
    do {
        // Looking takes the cache line from whoever is about to change it: not too often.
        for (int i = 0; i < kRelaxes; ++i) cpu_relax();
        got = attempt();
    } while (!got && now_ns() < until);
    looked(seg, p);
    return got;
}

// Waits until attempt() is true. Returns `interrupted` after a signal and every few seconds, so that the caller can
// look around (signals, dead owners); it then calls again. `more()` says whether there is something left for another
// waiter: who was woken passes the wake-up on, because one notify_one may stand for several changes.
//
// `before_sleep()` is called once, when spinning did not help: for what only those who sleep must do.
template <class Attempt, class More, class BeforeSleep>
Wait wait_for(const Segment& seg, Parking& p, i64 deadline, Attempt&& attempt, More&& more, BeforeSleep&& before_sleep) {
    if (attempt()) {
        if (looked(seg, p) && more()) notify_one(seg, p);
        return Wait::done;
    }
    if (deadline == 0) return Wait::timeout;
    Wait result = Wait::interrupted;
    const i64 start = now_ns();
    if (spin(seg, p, attempt, deadline)) {
        result = Wait::done;
    } else {
        before_sleep();
        const i64 net = start + kNet;
        for (;;) {
            const u32 w = p.word.fetch_or(kSleepers, std::memory_order_seq_cst) | kSleepers;
            // SYNC POINT announce-then-look
            if (attempt()) {
                result = Wait::done;
                break;
            }
            const i64 now = now_ns();
            if (now >= deadline) {
                result = Wait::timeout;
                break;
            }
            if (now >= net) break;
            seg.set_runnable(false);
            const Sleep s = futex_wait(p.word, w, std::min(deadline, net));
            // SYNC POINT announce-then-look: from here on a change is seen below, or wakes somebody else.
            if (const u32 woken = p.waking.load(std::memory_order_relaxed)) {
                p.waking.store(0, std::memory_order_seq_cst);
                spin_budget().woken_within(1000 * static_cast<i64>((static_cast<u32>(now_ns() / 1000) | 1) - woken));
            }
            seg.set_runnable(true);
            if (s == Sleep::interrupted) break;
        }
    }
    spin_budget().waited(now_ns() - start);
    // Leaving without the thing may leave a wake-up behind; leaving with it may leave more of it.
    if (result != Wait::done || more()) notify_one(seg, p);
    return result;
}

template <class Attempt, class More>
Wait wait_for(const Segment& seg, Parking& p, i64 deadline, Attempt&& attempt, More&& more) {
    return wait_for(seg, p, deadline, attempt, more, [] {});
}

}  // namespace allcores
