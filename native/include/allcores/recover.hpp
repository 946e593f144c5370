// What is done once for every process that died, by one process at a time: the program's template, which is the parent of
// all others and hears of each death from the kernel. Every step can be repeated: should the template die in the middle, its
// successor begins again.
#pragma once

#include "barrier.hpp"
#include "condemn.hpp"
#include "counted.hpp"
#include "deadlock.hpp"
#include "pipe.hpp"
#include "semaphore.hpp"
#include "signal.hpp"

namespace allcores {

// A data block of Value and Array: its lock, then the data.
struct Data {
    Object object;
    LockState lock;
    u64 bytes;       // of data, behind this header
    u64 pad[2];
    char* data() { return reinterpret_cast<char*>(this + 1); }
};

static_assert(sizeof(Data) == 256);

inline bool has_channel(Kind kind) { return kind == Kind::channel || kind == Kind::pipe; }

inline void end_object(Segment& seg, Arena& arena, Object& o) {
    if (has_channel(static_cast<Kind>(o.head.kind.load()))) {
        ChannelView(seg, arena, reinterpret_cast<Channel&>(o)).destroy();
    } else {
        // Ours first: large memory goes back before its word says so, and what has none is no object that recovery could end.
        const BlockId block = o.head.block;
        arena.set(block, BlockState::owned);
        arena.give_back(block);
    }
}

inline const bool knows_how_to_end = (end_unheld = &end_object, true);

// f(object, kind) for all of them, each claimed meanwhile: so nobody ends what is looked at here, and uses its block for
// something else. Who lets go meanwhile cannot end it either: that is done here, then; and so is what the dead were
// just ending, or had let go without looking whether they were the last.
template <class F>
void for_each_object(Segment& seg, Arena& arena, F&& f) {
    const u32 used = seg.header().extents_used.load();
    const auto kind_of = [&](BlockId id) {
        return static_cast<Kind>(reinterpret_cast<ObjectHead*>(arena.data(id))->kind.load());
    };
    for (u32 e = 1; e < used; ++e) {
        for (u32 b = 0; b < kBlocksPerExtent && arena.exists(e * kBlocksPerExtent + b); ++b) {
            const BlockId id = e * kBlocksPerExtent + b;
            const BlockWord w = arena.look(id);
            if (w.state() != BlockState::object && w.state() != BlockState::claimed) continue;
            const auto seen = static_cast<Kind>(glimpse(reinterpret_cast<ObjectHead*>(arena.data(id))->kind));
            if (seen == Kind::none || seen == Kind::ring || !arena.claim(id, w)) continue;
            Object& o = *reinterpret_cast<Object*>(arena.data(id));
            f(o, kind_of(id));
            if (is_held(o)) {
                arena.set(id, BlockState::object);
                if (is_held(o) || !arena.claim(id, w.with(BlockState::object, 0))) continue;
            }
            end_object(seg, arena, o);
        }
    }
}

inline void recover_object(Segment& seg, Arena& arena, Object& o, Kind kind, Slot dead, bool killed) {
    if (has_channel(kind)) ChannelView(seg, arena, reinterpret_cast<Channel&>(o)).recover(dead);
    if (kind == Kind::lock) LockView(seg, reinterpret_cast<Lock&>(o).state).recover(dead);
    if (kind == Kind::data) LockView(seg, reinterpret_cast<Data&>(o).lock).recover(dead);
    if (kind == Kind::bounded_semaphore) BoundedSemaphoreView(seg, reinterpret_cast<BoundedSemaphore&>(o)).recover(dead, killed);
    if (kind == Kind::condition) ConditionView(seg, reinterpret_cast<Condition&>(o)).recover(dead);
    if (kind == Kind::barrier)
        BarrierView(seg, reinterpret_cast<Barrier&>(o)).recover(dead, killed && is_held_by(o, dead));
}

// A wake-up that had reached the dead is passed on: everybody who sleeps looks again.
inline void disturb_object(Segment& seg, Arena& arena, Object& o, Kind kind) {
    if (has_channel(kind)) ChannelView(seg, arena, reinterpret_cast<Channel&>(o)).disturb_all();
    if (kind == Kind::lock) disturb(reinterpret_cast<Lock&>(o).state.parking, seg);
    if (kind == Kind::data) disturb(reinterpret_cast<Data&>(o).lock.parking, seg);
    if (kind == Kind::semaphore) disturb(reinterpret_cast<Semaphore&>(o).parking, seg);
    if (kind == Kind::event) disturb(reinterpret_cast<Event&>(o).parking, seg);
    if (kind == Kind::bounded_semaphore) disturb(reinterpret_cast<BoundedSemaphore&>(o).parking, seg);
    if (kind == Kind::condition) ConditionView(seg, reinterpret_cast<Condition&>(o)).disturb_all();
    if (kind == Kind::barrier) disturb(reinterpret_cast<Barrier&>(o).parking, seg);
}

// Messages that the dead was making or unpacking: they pin what they have handles of.
inline void recover_roots(Segment& seg, Arena& arena, Slot dead) {
    const u32 blocks = seg.header().extents_used.load() * kBlocksPerExtent;
    for (BlockId id = kBlocksPerExtent; id < blocks; ++id) {
        if (!arena.exists(id) || arena.look(id).state() != BlockState::root || arena.look(id).owner() != dead) continue;
        unpin_handles(seg, arena, id);
        arena.give_back(id);
    }
}

// In the place of the crew: the worker has said itself that it ends.
inline constexpr u64 kEndedWell = 1;

// What the dead was at, for the report to its pool.
struct LastWords {
    u64 crew = 0;
    u64 task = 0;
    u32 item = 0;
    i64 ran = -1;  // nanoseconds that it was at that item, about; -1: not known
};

// An item with a time limit has its own beginning, the first one of a task that of the task.
inline LastWords last_words(const Participant& p) {
    const u64 task = task_of(p.task.load());
    const u32 item = p.item.load();
    const bool working = task != 0 && task != ~u64{0};
    const i64 began = !working                                   ? 0
                      : state_of(p.run.load()) != TimedState::idle ? p.began.load()
                      : item == 0                                  ? p.done.since.load()
                                                                   : 0;
    return {p.crew.load(), task, item, began == 0 ? -1 : std::max<i64>(now_ns() - began, 0)};
}

// Objects first: they say which blocks are still on their way. Then the blocks. The report before the holds are cleared:
// it is the dead one's own hold that keeps the channel alive. The slot last, by the caller. `killed`: it did not end well.
template <class Report>
void recover(Segment& seg, Arena& arena, Slot dead, Report&& report, bool killed = true) {
    WaitRecord::recover(seg, dead);
    for_each_object(seg, arena, [&](Object& o, Kind kind) {
        // A lock may be held by one who has no handle of it any more, and items likewise be in its hands; recovering a lock is
        // one CAS from the dead owner's word. A pipe that nobody receives from is emptied by whoever finds that out.
        const bool only_by_holders = kind == Kind::channel && reinterpret_cast<Channel&>(o).counts == 0;
        if (is_held_by(o, dead) || !is_held(o) || !only_by_holders) recover_object(seg, arena, o, kind, dead, killed);
    });
    const Participant& p = seg.participant(dead);
    recover_roots(seg, arena, dead);
    arena.recover(dead);
    report(last_words(p));
    for_each_object(seg, arena, [&](Object& o, Kind kind) {
        // Of a pipe that lives, whoever holds it: a fork that is killed early may have come to hold the side alone.
        if (kind == Kind::pipe && is_held(o)) PipeView(seg, arena, reinterpret_cast<Pipe&>(o)).recover_sides(dead);
        if (!is_held_by(o, dead)) return;
        disturb_object(seg, arena, o, kind);
        clear_hold(o, dead);
    });
    // Last: the dead may have taken an announcement down and told nobody.
    tell_several(seg);
}

// One recovery at a time: two templates exist where the user has forked. Waits for the other, unless that has died in it.
class Recovering {
public:
    explicit Recovering(Segment& seg) : word_(seg.header().recovering), done_(seg.header().recovered) {
        // With the pid: the slot of the one that died in it may be another's by the time that this one looks.
        const u64 mine = static_cast<u64>(seg.participant(seg.me).pid.load()) << 32 | seg.me;
        for (;;) {
            const u32 before = done_.load();
            u64 other = 0;
            if (word_.compare_exchange_strong(other, mine)) return;
            if (seg.is_dead(static_cast<Slot>(other)) && word_.compare_exchange_strong(other, mine)) return;
            // Its death does not change the word: so it is looked at again after a while.
            futex_wait(done_, before, now_ns() + kNet);
        }
    }
    ~Recovering() {
        word_.store(0);
        done_.fetch_add(1);
        futex_wake(done_, INT_MAX);
    }
    Recovering(const Recovering&) = delete;

private:
    std::atomic<u64>& word_;
    std::atomic<u32>& done_;
};

inline Slot slot_of(const Segment& seg, u32 pid) {
    const u32 used = seg.header().participants_used.load();
    for (u32 i = 1; i <= used; ++i) {
        if (seg.participant(static_cast<Slot>(i)).pid.load() == pid) return static_cast<Slot>(i);
    }
    return 0;
}

}  // namespace allcores
