// Locks whose holder may die. The word names the owner, so a dead owner is seen by one load; then the lock is poisoned:
// what it guards may be half changed, and every acquire says so until somebody calls recover().
//
//   lock word = thread:32 | flags:16 | owner:16        0: free        poisoned: pid of the dead:32 | flags:16 | 0
#pragma once

#include <csignal>

#include "object.hpp"
#include "park.hpp"

namespace allcores {

inline constexpr u64 kPoisoned = u64{1} << 16;
// Held inside one native call whose only effect is a single store: its death leaves nothing half done, so recovery
// frees the lock instead of poisoning it.
inline constexpr u64 kAtomicUpdate = u64{1} << 17;

struct LockState {
    std::atomic<u64> word;
    Parking parking;
    u32 depth;                  // of a recursive lock; its owner's business only
    u8 recursive;
    u8 released_on_death;       // handed on when its holder dies, not poisoned
    std::atomic<u8> is_signal;  // was once released by another than its owner
    std::atomic<u8> travelled;  // its handle was pickled: others may come to hold it
    u32 number;                 // its name for people
    std::atomic<i64> since;     // when it was acquired, in monotonic nanoseconds; 0: not known
    std::atomic<u64> where;     // offset of the text that says where; 0: not traced
    Name dead;                  // name of the process that died with it
};

static_assert(sizeof(LockState) == 80);

enum class Acquire : u8 { ok, busy, owner_died };
enum class Release : u8 { ok, not_held, not_owner };

inline u32& tid_cache() {
    thread_local u32 tid = 0;
    return tid;
}
// The kernel's number of this thread. A forked child has another: it clears the cache.
inline u32 my_thread() {
    u32& tid = tid_cache();
    if (tid == 0) tid = static_cast<u32>(gettid());
    return tid;
}

// This thread, as lock words have it.
inline u64 this_thread(const Segment& seg) { return static_cast<u64>(my_thread()) << 32 | seg.me; }
inline u64 owner_of(u64 lock_word) { return lock_word & ~(kPoisoned | kAtomicUpdate); }

class LockView {
public:
    LockView(const Segment& seg, LockState& lock) : seg_(seg), lock_(lock) {}

    Acquire try_acquire(u64 flags = 0) {
        u64 w = 0;
        // SYNC POINT lock-handed-on
        if (lock_.word.compare_exchange_strong(w, mine() | flags)) {
            STEP("acquire.taken");
            if (lock_.recursive != 0) lock_.depth = 1;
            return Acquire::ok;
        }
        if ((w & kPoisoned) != 0) return Acquire::owner_died;
        if (lock_.recursive != 0 && owner_of(w) == mine()) {
            ++lock_.depth;
            STEP("acquire.deeper");
            return Acquire::ok;
        }
        const Slot owner = static_cast<Slot>(w);
        if (owner == 0 || !seg_.is_dead(owner)) return Acquire::busy;
        settle(w);
        return try_acquire(flags);
    }

    // A plain lock may be released by any thread of any process, as the standard says; a recursive one by its owner.
    Release release() {
        u64 w = lock_.word.load(std::memory_order_relaxed);
        if (lock_.recursive != 0) {
            if (owner_of(w) != mine()) return Release::not_owner;
            if (--lock_.depth != 0) return Release::ok;
        }
        if (owner_of(w) == mine()) {
            free();
            return Release::ok;
        }
        return w != 0 && release_for(w) ? Release::ok : Release::not_held;
    }

    // For a condition: lets go of a recursive lock however often it is held; `depth` is for take_back.
    u32 let_go_of() {
        const u32 depth = lock_.depth;
        free();
        return depth;
    }
    void take_back(u32 depth) { lock_.depth = depth; }

    bool held_by_me() const { return owner_of(lock_.word.load()) == mine(); }
    bool is_free() const { return lock_.word.load() == 0; }
    // Whether an acquire would not wait now; it may raise.
    bool would_acquire() const {
        const u64 w = lock_.word.load();
        if (w == 0 || (w & kPoisoned) != 0 || (lock_.recursive != 0 && owner_of(w) == mine())) return true;
        return seg_.is_dead(static_cast<Slot>(w));
    }
    // Of the process that died with it; 0: it is not poisoned.
    u32 died_pid() const {
        const u64 w = lock_.word.load();
        return (w & kPoisoned) != 0 ? static_cast<u32>(w >> 32) : 0;
    }

    // Ends the poison; the caller has made sure of what the lock guards. False: it was not poisoned.
    bool mend() {
        u64 w = lock_.word.load();
        if ((w & kPoisoned) == 0 || !lock_.word.compare_exchange_strong(w, 0)) return false;
        notify_all(seg_, lock_.parking);
        return true;
    }

    void recover(Slot dead) {
        const u64 w = lock_.word.load();
        if (static_cast<Slot>(w) == dead) settle(w);
    }

    // A recursive lock can be released by its owning thread alone: where that thread has ended, its process alive, nobody
    // ever would. True: it was so, and the lock is settled as if the process had died.
    bool settle_if_thread_ended() {
        const u64 w = lock_.word.load();
        const Slot owner = static_cast<Slot>(w);
        if (lock_.recursive == 0 || owner == 0 || (w & kAtomicUpdate) != 0) return false;
        const auto pid = static_cast<pid_t>(seg_.participant(owner).pid.load());
        if (pid == 0 || tgkill(pid, static_cast<pid_t>(w >> 32), 0) == 0 || errno != ESRCH) return false;
        settle(w);
        return true;
    }

private:
    // Released for the owner in `w`: a signal. Also if that owner has ended, and its death is settled just now; but not if
    // somebody has acquired the lock since.
    bool release_for(u64 w) {
        lock_.is_signal.store(1, std::memory_order_relaxed);
        u64 poisoned = w;
        if ((w & kPoisoned) == 0) {
            poisoned = static_cast<u64>(seg_.participant(static_cast<Slot>(w)).pid.load()) << 32 | kPoisoned;
            const u64 now = lock_.word.load();  // the same: then the pid is that owner's
            if ((now & kPoisoned) != 0) w = poisoned = now;
            if (now != w) return false;
        }
        if (!lock_.word.compare_exchange_strong(w, 0) && !lock_.word.compare_exchange_strong(poisoned, 0)) return false;
        notify_one(seg_, lock_.parking);
        return true;
    }

    void free() {
        // SYNC POINT lock-handed-on; SYNC POINT change-then-look
        lock_.since.store(0, std::memory_order_relaxed);
        STEP("release.begun");
        lock_.word.store(0, std::memory_order_seq_cst);
        STEP("release.done");
        notify_one(seg_, lock_.parking);
    }

    // `w` names an owner that is dead. Whoever sees it first does it: the CAS from that very word makes it happen once, and to no
    // later owner that has the slot by then.
    void settle(u64 w) {
        if ((w & kPoisoned) != 0) return;
        const Participant& p = seg_.participant(static_cast<Slot>(w));
        const bool sound = (w & kAtomicUpdate) != 0 || lock_.released_on_death != 0;
        const u64 poisoned = static_cast<u64>(p.pid.load()) << 32 | kPoisoned;
        if (!sound) lock_.dead.set(p.name);
        STEP("poison.begun");
        if (lock_.word.compare_exchange_strong(w, sound ? 0 : poisoned)) notify_all(seg_, lock_.parking);
        STEP("poison.done");
    }

    u64 mine() const { return this_thread(seg_); }

    const Segment& seg_;
    LockState& lock_;
};

struct Lock {
    Object object;
    LockState state;
};

static_assert(sizeof(Lock) <= kLeastBlock);

}  // namespace allcores
