// What is done once for every process that died, by one process at a time: the program's template, which is the parent of
// all others and hears of each death from the kernel. Every step can be repeated: should the template die in the middle, its
// successor begins again.
#pragma once

#include "channel.hpp"
#include "lock.hpp"
#include "signal.hpp"

namespace allcores {

// A data block of Value and Array: its lock, then the data.
struct Data {
    Object object;
    LockState lock;
    u64 bytes;       // of data, behind this header
    char* data() { return reinterpret_cast<char*>(this + 1); }
};

static_assert(sizeof(Data) == 192);

inline void end_object(Segment& seg, Arena& arena, Object& o) {
    if (static_cast<Kind>(o.head.kind.load()) == Kind::channel) {
        ChannelView(seg, arena, reinterpret_cast<Channel&>(o)).destroy();
    } else {
        arena.give_back(o.head.block);
    }
}

template <class F>
void for_each_object(Segment& seg, Arena& arena, F&& f) {
    const u32 used = seg.header().extents_used.load();
    for (u32 e = 1; e < used; ++e) {
        for (u32 b = 0; b < kBlocksPerExtent && arena.exists(e * kBlocksPerExtent + b); ++b) {
            const BlockId id = e * kBlocksPerExtent + b;
            if (arena.look(id).state() != BlockState::object) continue;
            ObjectHead& head = *reinterpret_cast<ObjectHead*>(arena.data(id));
            const Kind kind = static_cast<Kind>(head.kind.load());
            if (kind != Kind::none && kind != Kind::ring) f(reinterpret_cast<Object&>(head), kind);
        }
    }
}

inline void recover_object(Segment& seg, Arena& arena, Object& o, Kind kind, Slot dead) {
    if (kind == Kind::channel) ChannelView(seg, arena, reinterpret_cast<Channel&>(o)).recover(dead);
    if (kind == Kind::lock) LockView(seg, reinterpret_cast<Lock&>(o).state).recover(dead);
    if (kind == Kind::data) LockView(seg, reinterpret_cast<Data&>(o).lock).recover(dead);
}

// A wake-up that had reached the dead is passed on: everybody who sleeps looks again.
inline void disturb_object(Segment& seg, Arena& arena, Object& o, Kind kind) {
    if (kind == Kind::channel) ChannelView(seg, arena, reinterpret_cast<Channel&>(o)).disturb_all();
    if (kind == Kind::lock) disturb(reinterpret_cast<Lock&>(o).state.parking, seg);
    if (kind == Kind::data) disturb(reinterpret_cast<Data&>(o).lock.parking, seg);
    if (kind == Kind::semaphore) disturb(reinterpret_cast<Semaphore&>(o).parking, seg);
    if (kind == Kind::event) disturb(reinterpret_cast<Event&>(o).parking, seg);
}

// What the dead was at, for the report to its pool.
struct LastWords {
    u64 crew = 0;
    u64 task = 0;
    u32 item = 0;
};

// Objects first: they say which blocks are still on their way. Then the blocks. The report before the holds are cleared:
// it is the dead one's own hold that keeps the channel alive. The slot last, by the caller.
template <class Report>
void recover(Segment& seg, Arena& arena, Slot dead, Report&& report) {
    for_each_object(seg, arena, [&](Object& o, Kind kind) {
        // A lock may be held by one who has no handle of it any more; recovering it is one CAS from the dead owner's word.
        const bool concerned = is_held_by(o, dead) || static_cast<Slot>(o.life.load()) == dead || kind != Kind::channel;
        if (concerned) recover_object(seg, arena, o, kind, dead);
    });
    const Participant& p = seg.participant(dead);
    arena.recover(dead);
    report(LastWords{p.crew.load(), p.task.load(), p.item.load()});
    for_each_object(seg, arena, [&](Object& o, Kind kind) {
        const u64 life = o.life.load();
        const bool ending = static_cast<Slot>(life) == dead;
        if (is_held_by(o, dead)) {
            disturb_object(seg, arena, o, kind);
            clear_hold(o, dead);
        }
        // Also what the dead was just ending, or had let go without looking whether it was the last.
        if (ending || is_last(o, life, seg.me)) end_object(seg, arena, o);
    });
}

inline Slot slot_of(const Segment& seg, u32 pid) {
    const u32 used = seg.header().participants_used.load();
    for (u32 i = 1; i <= used; ++i) {
        if (seg.participant(static_cast<Slot>(i)).pid.load() == pid) return static_cast<Slot>(i);
    }
    return 0;
}

}  // namespace allcores
