// Locks whose holder may die. The word names the owner, so a dead owner is seen by one load; then the lock is poisoned:
// what it guards may be half changed, and every acquire says so until somebody calls recover().
//
//   lock word = thread:32 | flags:16 | owner:16        0: free
#pragma once

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
    u32 depth;       // of a recursive lock; its owner's business only
    std::atomic<u32> died_pid;
    u32 recursive;
};

static_assert(sizeof(LockState) == 32);

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
        if (lock_.recursive != 0 && (w & ~kAtomicUpdate) == mine()) {
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
        const u64 w = lock_.word.load(std::memory_order_relaxed);
        if (lock_.recursive != 0) {
            if ((w & ~kAtomicUpdate) != mine()) return Release::not_owner;
            if (--lock_.depth != 0) return Release::ok;
        }
        // A poisoned plain lock too: acquired by a process that has ended, released by another, it was a signal.
        if (w == 0) return Release::not_held;
        // SYNC POINT lock-handed-on; SYNC POINT change-then-look
        STEP("release.begun");
        lock_.word.store(0, std::memory_order_seq_cst);
        STEP("release.done");
        notify_one(lock_.parking);
        return Release::ok;
    }

    bool held_by_me() const { return (lock_.word.load() & ~kAtomicUpdate) == mine(); }
    bool is_free() const { return lock_.word.load() == 0; }

    // Ends the poison; the caller has made sure of what the lock guards. False: it was not poisoned.
    bool mend() {
        u64 w = lock_.word.load();
        if ((w & kPoisoned) == 0 || !lock_.word.compare_exchange_strong(w, 0)) return false;
        notify_all(lock_.parking);
        return true;
    }

    void recover(Slot dead) {
        const u64 w = lock_.word.load();
        if (static_cast<Slot>(w) == dead) settle(w);
    }

private:
    // `w` names an owner that is dead. Whoever sees it first does it: the CAS from that very word makes it happen once, and to no
    // later owner that has the slot by then.
    void settle(u64 w) {
        if ((w & kPoisoned) != 0) return;
        if ((w & kAtomicUpdate) == 0) lock_.died_pid.store(seg_.participant(static_cast<Slot>(w)).pid.load());
        STEP("poison.begun");
        if (lock_.word.compare_exchange_strong(w, (w & kAtomicUpdate) != 0 ? 0 : kPoisoned)) notify_all(lock_.parking);
        STEP("poison.done");
    }

    u64 mine() const { return static_cast<u64>(my_thread()) << 32 | seg_.me; }

    const Segment& seg_;
    LockState& lock_;
};

struct Lock {
    Object object;
    LockState state;
};

static_assert(sizeof(Lock) <= kLeastBlock);

}  // namespace allcores
