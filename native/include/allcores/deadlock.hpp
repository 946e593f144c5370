// Who waits for which lock, and whether that can end. Only threads that are about to sleep in an acquire without a
// timeout are in the table, so a lock that is free costs nothing of this.
//
//     acquire:  announce (ticket, lock)  ;  look for a cycle  ;  sleep        at each wake-up: look again
//
// Announcements and looks are sequentially consistent: of the members of a cycle, the one that announced itself last sees all
// others. A cycle is real if two walks along it find the same words and tickets: in between, each member was blocked all the
// time, and each lock held by the same member. It then lasts until somebody gives up, and of its members exactly one does: the one
// with the highest ticket. Another that sees the cycle first wakes it.
//
// Plain locks can be released by any thread. One that ever was, by another than its owner, is a signal and no part of a cycle; and
// so is one whose waiter is its owner, unless nobody else is there who could release it (the bindings know).
//
// A walk along thread -> lock -> owner is the classic wait-for graph with one edge from each node (Coffman, Elphick and
// Shoshani, System Deadlocks, 1971).
#pragma once

#include "lock.hpp"

namespace allcores {

struct Blocked {
    u64 thread;
    u64 ticket;
    u64 lock;
    u64 word;        // of that lock
    u64 where;
};

struct Cycle {
    static constexpr u32 kMost = 64;
    u32 size = 0;
    Blocked member[kMost];  // each waits for a lock that the next one holds, the last for one of the first
};

// This thread's record in the table, from announce() to the end of the object.
class WaitRecord {
public:
    explicit WaitRecord(const Segment& seg) : seg_(seg) {}
    ~WaitRecord() {
        if (mine_ == nullptr) return;
        mine_->ticket.store(0);
        mine_->thread.store(0);
    }
    WaitRecord(const WaitRecord&) = delete;

    bool announced() const { return mine_ != nullptr; }

    // A full table means that this wait takes no part in the search.
    void announce(const LockState& lock, u64 where) {
        auto& used = seg_.header().waiters_used;
        for (u32 i = 0; i < kMaxWaiters; ++i) {
            Waiter& w = record(i);
            if (w.thread.load(std::memory_order_relaxed) != 0) continue;
            u32 n = used.load();
            while (n <= i && !used.compare_exchange_weak(n, i + 1)) {
            }
            u64 nobody = 0;
            if (!w.thread.compare_exchange_strong(nobody, this_thread(seg_))) continue;
            w.lock.store(seg_.offset_of(&lock));
            w.where.store(where);
            w.ticket.store(seg_.header().tickets.fetch_add(1) + 1);
            mine_ = &w;
            return;
        }
    }

    // Whether this thread is the one that has to give up. `cycle` has it first.
    bool closes(Cycle& cycle) const {
        if (mine_ == nullptr || !walk(cycle)) return false;
        Cycle again;
        if (!walk(again) || again.size != cycle.size) return false;
        const Blocked* last = &cycle.member[0];
        for (u32 i = 0; i < cycle.size; ++i) {
            const Blocked& a = cycle.member[i];
            const Blocked& b = again.member[i];
            if (a.thread != b.thread || a.ticket != b.ticket || a.lock != b.lock || a.word != b.word) return false;
            if (a.ticket > last->ticket) last = &a;
        }
        if (last == &cycle.member[0]) return true;
        // Without writing: should all be over by now, that memory may be somebody's array.
        futex_wake(seg_.at<LockState>(last->lock).parking.word, INT_MAX);
        return false;
    }

    // Records of threads whose process died.
    static void recover(const Segment& seg, Slot dead) {
        for (u32 i = 0; i < seg.header().waiters_used.load(); ++i) {
            Waiter& w = seg.at<Waiter>(kWaitersAt + i * sizeof(Waiter));
            if (static_cast<Slot>(w.thread.load()) != dead) continue;
            w.ticket.store(0);
            w.thread.store(0);
        }
    }

private:
    Waiter& record(u32 i) const { return seg_.at<Waiter>(kWaitersAt + i * sizeof(Waiter)); }

    // The record may be freed and taken again meanwhile: what counts is that the second walk finds the same ticket.
    bool read(const Waiter& w, Blocked& to) const {
        to.ticket = w.ticket.load();
        to.lock = w.lock.load();
        to.where = w.where.load();
        to.thread = w.thread.load();
        if (to.ticket == 0 || to.lock == 0 || w.ticket.load() != to.ticket) return false;
        to.word = seg_.at<LockState>(to.lock).word.load();
        return true;
    }

    // The newest, where a thread has several: a handler of a signal may wait inside of a wait.
    bool find(u64 thread, Blocked& to) const {
        bool found = false;
        for (u32 i = 0; i < seg_.header().waiters_used.load(); ++i) {
            Blocked other;
            if (record(i).thread.load() != thread || !read(record(i), other)) continue;
            if (!found || other.ticket > to.ticket) to = other;
            found = true;
        }
        return found;
    }

    // From this thread from owner to owner, until it is this thread again.
    bool walk(Cycle& cycle) const {
        Blocked now;
        if (!read(*mine_, now)) return false;
        for (cycle.size = 0; cycle.size < Cycle::kMost;) {
            const LockState& lock = seg_.at<LockState>(now.lock);
            const bool signal = lock.recursive == 0 && lock.is_signal.load(std::memory_order_relaxed) != 0;
            if (now.word == 0 || (now.word & kPoisoned) != 0 || signal) return false;
            cycle.member[cycle.size++] = now;
            const u64 owner = owner_of(now.word);
            if (seg_.is_dead(static_cast<Slot>(owner))) return false;  // its lock is poisoned any moment
            if (owner == cycle.member[0].thread) return cycle.size > 1;
            if (!find(owner, now)) return false;
            for (u32 i = 0; i < cycle.size; ++i) {
                if (cycle.member[i].thread == now.thread) return false;  // a cycle that this thread only leads to
            }
        }
        return false;
    }

    const Segment& seg_;
    Waiter* mine_ = nullptr;
};

}  // namespace allcores
