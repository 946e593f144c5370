// How a pool worker is ended on purpose: for one task, or for one item that takes too long, and for nothing else.
//
//   task: N ──condemn──▶ N | kCondemned      run: running k ──condemn──▶ condemned k
//          └─answered──▶ 0                         └─ended────▶ idle
//
// One word, one CAS on each side: whoever comes first has it. A worker that finds itself condemned where it wanted to go on
// waits for its death. So no item that has ended is hit, and none that comes after. The kill itself is not in here: it is
// sent by the pool's process, at whose end every worker ends in any case.
#pragma once

#include <unistd.h>

#include "segment.hpp"
#include "step.hpp"

namespace allcores {

// The task without the mark. All ones is a worker that has not begun (STARTING in start.py), and never condemned.
inline u64 task_of(u64 word) { return word == ~u64{0} ? word : word & ~kCondemned; }

[[noreturn]] inline void await_death() {
    for (;;) pause();
}

// True if the worker was at this task and is now condemned: no answer to it will be waited for, and it takes no other.
inline bool condemn_task(Participant& p, u64 task) {
    u64 expected = task;
    return p.task.compare_exchange_strong(expected, task | kCondemned);
}

enum class TimedState : u64 { idle, running, condemned };

inline u64 run_word(u64 number, TimedState s) { return number << 2 | static_cast<u64>(s); }
inline TimedState state_of(u64 run) { return static_cast<TimedState>(run & 3); }

// The worker begins an item that may take so many nanoseconds.
inline void begin_timed(Participant& me, i64 now, i64 limit) {
    const u64 number = (me.run.load(std::memory_order_relaxed) >> 2) + 1;
    me.began.store(now, std::memory_order_release);
    me.until.store(limit < INT64_MAX - now ? now + limit : INT64_MAX, std::memory_order_release);
    // SYNC POINT timed-visible: the item's times are written before the word that says it runs.
    me.run.store(run_word(number, TimedState::running), std::memory_order_release);
    STEP("timed.begun");
}

// It has ended; unless it was condemned before.
inline void end_timed(Participant& me) {
    u64 run = me.run.load(std::memory_order_relaxed);
    const bool mine = state_of(run) == TimedState::running;
    if (!mine || !me.run.compare_exchange_strong(run, run_word(run >> 2, TimedState::idle))) await_death();
    STEP("timed.ended");
}

struct Timed {
    bool condemned = false;
    i64 ran = 0;    // nanoseconds, of the condemned item
    i64 limit = 0;  // that it had
    i64 until = 0;  // when the item that runs is over its time; 0: none runs
};

// Condemns the worker if the item it is at is over its time. A worker that goes from one pool to another may be meant by its
// pid where it is the other's already: an item is of one crew.
inline Timed condemn_if_overdue(Participant& p, u64 crew, i64 now) {
    u64 run = p.run.load(std::memory_order_acquire);  // SYNC POINT timed-visible
    if (state_of(run) != TimedState::running || p.crew.load() != crew) return {};
    const i64 began = p.began.load(std::memory_order_acquire), until = p.until.load(std::memory_order_acquire);
    if (until > now) return {false, 0, 0, until};
    // Only if it is still at that item: then the times that were read are that item's.
    const bool condemned = p.run.compare_exchange_strong(run, run_word(run >> 2, TimedState::condemned));
    if (condemned) STEP("timed.condemned");
    return {condemned, now - began, until - began, 0};
}

}  // namespace allcores
