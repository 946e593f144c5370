// Counting semaphores. A plain one is a counter: a permit that died with its holder is gone. A bounded one has a word for each
// permit, which names who has it: so the permits of the dead are free again.
#pragma once

#include "lock.hpp"

namespace allcores {

struct Semaphore {
    Object object;
    std::atomic<i64> value;
    Parking parking;
};

static_assert(sizeof(Semaphore) <= kLeastBlock);

inline bool try_acquire(Semaphore& s) {
    i64 v = s.value.load();
    while (v > 0) {
        if (s.value.compare_exchange_weak(v, v - 1)) return true;
    }
    return false;
}

// False: the counter would not hold it.
inline bool release(const Segment& seg, Semaphore& s, i64 n) {
    i64 v = s.value.load();
    do {
        if (n > INT64_MAX - v) return false;
    } while (!s.value.compare_exchange_weak(v, v + n));
    n == 1 ? notify_one(seg, s.parking) : notify_all(seg, s.parking);
    return true;
}

//   permit word = thread:32 | 0:16 | owner:16        0: free
struct BoundedSemaphore {
    Object object;
    Parking parking;
    std::atomic<u32> hint;      // where a free permit may be
    std::atomic<u32> returned;  // by the end of processes that were not killed, and by nobody's release() yet
    u64 permits;
    std::atomic<u64>* permit() { return reinterpret_cast<std::atomic<u64>*>(this + 1); }
    static u64 bytes_for(u64 permits) { return sizeof(BoundedSemaphore) + permits * sizeof(u64); }
};

class BoundedSemaphoreView {
public:
    BoundedSemaphoreView(const Segment& seg, BoundedSemaphore& s) : seg_(seg), s_(s) {}

    bool try_acquire() {
        const u64 first = s_.hint.load(std::memory_order_relaxed);
        for (u64 k = 0; k < s_.permits; ++k) {
            const u64 i = first + k < s_.permits ? first + k : first + k - s_.permits;
            u64 w = s_.permit()[i].load();
            // Of a dead holder: the CAS from its very word takes it from nobody else.
            if (w != 0 && !seg_.is_dead(static_cast<Slot>(w))) continue;
            const bool of_dead = w != 0;
            if (!s_.permit()[i].compare_exchange_strong(w, this_thread(seg_))) continue;
            if (of_dead) s_.returned.fetch_add(1);
            s_.hint.store(static_cast<u32>(i + 1 < s_.permits ? i + 1 : 0), std::memory_order_relaxed);
            return true;
        }
        return false;
    }

    // Permits have no names: any thread may give one back. One of its own if it has one, else of its process, else anybody's.
    // Last one of the dead: that is free already, or it would be the permit of a living one that is lost. False: none is out.
    bool release() {
        const u64 me = this_thread(seg_);
        const auto of = [&](auto&& fits) {
            for (u64 i = 0; i < s_.permits; ++i) {
                u64 w = s_.permit()[i].load();
                if (w == 0 || !fits(w) || !s_.permit()[i].compare_exchange_strong(w, 0)) continue;
                s_.hint.store(static_cast<u32>(i), std::memory_order_relaxed);
                notify_one(seg_, s_.parking);
                return true;
            }
            return false;
        };
        return of([&](u64 w) { return w == me; }) || of([&](u64 w) { return static_cast<Slot>(w) == seg_.me; }) ||
               of([&](u64 w) { return !seg_.is_dead(static_cast<Slot>(w)); }) || of([](u64) { return true; });
    }

    i64 value() {
        i64 free = 0;
        for (u64 i = 0; i < s_.permits; ++i) {
            const u64 w = s_.permit()[i].load();
            free += w == 0 || seg_.is_dead(static_cast<Slot>(w)) ? 1 : 0;
        }
        return free;
    }

    void recover(Slot dead, bool killed) {
        for (u64 i = 0; i < s_.permits; ++i) {
            u64 w = s_.permit()[i].load();
            if (static_cast<Slot>(w) != dead || !s_.permit()[i].compare_exchange_strong(w, 0)) continue;
            if (!killed) s_.returned.fetch_add(1);
            notify_one(seg_, s_.parking);
        }
    }

    // Acquired by a process that has ended, released by another: its end has done it already.
    bool was_returned() {
        u32 n = s_.returned.load();
        while (n != 0 && !s_.returned.compare_exchange_weak(n, n - 1)) {
        }
        return n != 0;
    }

private:
    const Segment& seg_;
    BoundedSemaphore& s_;
};

}  // namespace allcores
