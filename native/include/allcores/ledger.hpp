// What a channel counts, where it was asked to: the bytes that wait in it (Queue(max_bytes=...)), and which items are not done
// yet (JoinableQueue). Numbers that a death could leave wrong, so they change only under a lock whose holder's death is noticed,
// together with the ring: `dirty` is set meanwhile, and whoever comes in and finds it set counts again (counted.hpp).
//
//   unfinished = items in the rings + items in hands - items marked done early
//   in hands   = taken and not marked done: a number for each process, which its death leaves standing, so that join() can
//                tell who took how many items along
//
// Of these, the rings are what is so. A put or a task_done changes one of the others and `unfinished` follows: after a death it is
// the sum again. A take does not change `unfinished`: after a death, what is missing in the sum is what the dead had taken.
#pragma once

#include "lock.hpp"

namespace allcores {

// The items that one process took and has not marked done.
struct Hands {
    std::atomic<u64> who;    // pid:32 | use of its slot:32
    std::atomic<u64> items;
    Name name;
};

struct Ledger {
    LockState lock;
    u64 max_bytes;                      // 0: no limit
    std::atomic<u64> bytes;             // of what waits in the rings; 0: nothing waits, since an item has one at least
    std::atomic<u64> unfinished;
    std::atomic<u64> early;             // marked done before anybody took them
    std::atomic<u32> dirty;             // 0, or what is being changed
    u32 slots;                          // how many have hands; 0: only bytes are counted
    Parking finished;                   // who joins waits here
    u32 pad;

    // [slot], and [0]: what those have left whose slot is another's by now.
    Hands& hands(u32 slot) { return reinterpret_cast<Hands*>(this + 1)[slot]; }
    static u64 bytes_for(u32 slots) { return sizeof(Ledger) + (slots == 0 ? 0 : slots + 1U) * sizeof(Hands); }
};

static_assert(sizeof(Ledger) == 136 && sizeof(Hands) == 48);

// In `dirty`: `unfinished` is the sum of the rest; or it stands, and what is missing in the sum belongs to the hands in the upper bits.
inline constexpr u32 kSum = 1;
inline constexpr u32 kMissing = 2;
inline constexpr u32 kEarly = 0xffff;  // in the place of hands

class LedgerView {
public:
    LedgerView(const Segment& seg, Ledger& ledger) : seg_(seg), l_(ledger) {}

    bool try_enter() { return LockView(seg_, l_.lock).try_acquire(kAtomicUpdate) == Acquire::ok; }
    // Nobody stays inside longer than a put or a take lasts, unless it is stopped: false when that has lasted long.
    bool enter() {
        const i64 since = now_ns();
        while (wait_for(seg_, l_.lock.parking, kNever, [&] { return try_enter(); }, [&] { return l_.lock.word.load() == 0; }) !=
               Wait::done) {
            if (now_ns() - since >= kNet) return false;
        }
        return true;
    }
    void leave() { LockView(seg_, l_.lock).release(); }

    bool is_dirty() const { return l_.dirty.load() != 0; }
    // Whether somebody died inside, and nobody has counted again.
    bool is_left_dirty() const {
        if (!is_dirty()) return false;
        const u64 w = l_.lock.word.load();
        return w == 0 || seg_.is_dead(static_cast<Slot>(w));
    }

    // An item that is larger than all that may wait goes in alone.
    bool fits(u64 bytes) const {
        const u64 waiting = l_.bytes.load();
        return l_.max_bytes == 0 || waiting == 0 || (bytes <= l_.max_bytes && waiting <= l_.max_bytes - bytes);
    }

    // Everything below: inside only. begin_..., the ring's own operation, then one of its two ends.
    void begin_put() {
        l_.dirty.store(kSum);
        STEP("ledger.putting");
    }
    void was_put(u64 bytes) {
        l_.bytes.fetch_add(bytes);
        STEP("ledger.put_bytes");
        if (l_.slots != 0) l_.unfinished.fetch_add(1);
        STEP("ledger.put_counted");
        done();
    }
    void begin_take() {
        into_ = l_.slots == 0 ? 0 : l_.early.load() != 0 ? kEarly : my_hands();
        l_.dirty.store(l_.slots == 0 ? kSum : kMissing | into_ << 8);
        STEP("ledger.taking");
    }
    void was_taken(u64 bytes) {
        l_.bytes.fetch_sub(bytes);
        STEP("ledger.take_bytes");
        if (l_.slots != 0) give(into_, 1);
        STEP("ledger.take_counted");
        done();
    }
    void done() {
        l_.dirty.store(0);
        STEP("ledger.clean");
    }

    // False: everything is done already. One of this process's items if it has one, else one of a living process's, which may have
    // passed it on; last one of the dead, or the next that is taken.
    bool task_done() {
        if (l_.unfinished.load() == 0) return false;
        const u32 from = whose_is_done();
        l_.dirty.store(kSum);
        STEP("ledger.finishing");
        from == kEarly ? l_.early.fetch_add(1) : l_.hands(from).items.fetch_sub(1);
        STEP("ledger.finished");
        l_.unfinished.fetch_sub(1);
        done();
        return true;
    }

    // The items in the hands of the dead count as done. How many.
    u64 recover() {
        u64 n = 0;
        l_.dirty.store(kSum);
        STEP("ledger.recovering");
        for_each_lost([&](Hands& h) {
            n += h.items.exchange(0);
            STEP("ledger.lost_forgotten");
        });
        l_.unfinished.fetch_sub(n);
        done();
        return n;
    }

    // Somebody died inside: `items` and `bytes` are what is in the rings. Can be repeated at any point.
    void count_again(u64 items, u64 bytes) {
        l_.bytes.store(bytes);
        STEP("ledger.bytes_again");
        const u32 dirty = l_.dirty.load();
        u64 sum = items - l_.early.load();
        for (u32 slot = 0; l_.slots != 0 && slot <= slots_used(); ++slot) sum += l_.hands(slot).items.load();
        if ((dirty & 0xff) == kSum) {
            l_.unfinished.store(l_.slots == 0 ? 0 : sum);
        } else {
            give(dirty >> 8, l_.unfinished.load() - sum);  // 0: it died before or after; what was moved half may be one too many
        }
        STEP("ledger.counted_again");
        done();
    }

    // f(hands) for those of the dead that are not empty. Also outside, for a look.
    template <class F>
    void for_each_lost(F&& f) {
        for (u32 slot = 0; l_.slots != 0 && slot <= slots_used(); ++slot) {
            if (l_.hands(slot).items.load() != 0 && is_lost(slot)) f(l_.hands(slot));
        }
    }
    u64 lost() {
        u64 n = 0;
        for_each_lost([&](Hands& h) { n += h.items.load(); });
        return n;
    }
    u64 in_hands() {
        u64 n = 0;
        for (u32 slot = 0; l_.slots != 0 && slot <= slots_used(); ++slot) n += l_.hands(slot).items.load();
        return n;
    }

    // The dead keeps what it has in its hands: who joins is to see it.
    void settle(Slot dead) {
        LockView(seg_, l_.lock).recover(dead);
        if (l_.slots != 0 && l_.hands(dead).items.load() != 0) disturb(l_.finished, seg_);
    }
    void disturb_all() {
        disturb(l_.lock.parking, seg_);
        disturb(l_.finished, seg_);
    }

private:
    u32 slots_used() const { return std::min(seg_.header().participants_used.load(), l_.slots); }
    u64 mine() const {
        const Participant& p = seg_.participant(seg_.me);
        return static_cast<u64>(p.pid.load()) << 32 | p.uses.load();
    }
    bool is_lost(u32 slot) {
        return slot == 0 || seg_.is_gone(static_cast<Slot>(slot), static_cast<u32>(l_.hands(slot).who.load()));
    }

    // The hands of this process. What a dead one that had the slot before has left in them goes to those of nobody.
    u32 my_hands() {
        Hands& h = l_.hands(seg_.me);
        if (h.who.load() == mine()) return seg_.me;
        if (const u64 left = h.items.load(); left != 0) {
            l_.hands(0).name.set(h.name);
            l_.hands(0).who.store(h.who.load());
            l_.dirty.store(kMissing);
            STEP("ledger.moving");
            give(0, left);  // first: never is an item seen in nobody's hands
            STEP("ledger.moved");
            h.items.store(0);
            done();
        }
        h.name.set(seg_.participant(seg_.me).name);
        h.who.store(mine());
        STEP("ledger.hands_mine");
        return seg_.me;
    }

    // One store each: it has happened or not.
    void give(u32 into, u64 n) {
        into == kEarly ? l_.early.fetch_sub(n) : l_.hands(into).items.fetch_add(n);
    }

    u32 whose_is_done() {
        if (l_.hands(seg_.me).who.load() == mine() && l_.hands(seg_.me).items.load() != 0) return seg_.me;
        u32 of_dead = kEarly;
        for (u32 slot = 0; slot <= slots_used(); ++slot) {
            if (l_.hands(slot).items.load() == 0) continue;
            if (!is_lost(slot)) return slot;
            of_dead = slot;
        }
        return of_dead;
    }

    const Segment& seg_;
    Ledger& l_;
    u32 into_ = 0;
};

}  // namespace allcores
