// Counting semaphores and events. A semaphore is a plain counter: a permit that died with its holder is gone.
#pragma once

#include "object.hpp"
#include "park.hpp"

namespace allcores {

struct Semaphore {
    Object object;
    std::atomic<i64> value;
    i64 most;            // bounded: release() beyond it is an error; kNever: unbounded
    Parking parking;
};

inline bool try_acquire(Semaphore& s) {
    i64 v = s.value.load();
    while (v > 0) {
        if (s.value.compare_exchange_weak(v, v - 1)) return true;
    }
    return false;
}

// False: more would be released than was acquired.
inline bool release(Semaphore& s, i64 n) {
    i64 v = s.value.load();
    do {
        if (n > s.most - v) return false;
    } while (!s.value.compare_exchange_weak(v, v + n));
    n == 1 ? notify_one(s.parking) : notify_all(s.parking);
    return true;
}

struct Event {
    Object object;
    std::atomic<u32> is_set;
    Parking parking;
};

inline void set(Event& e) {
    e.is_set.store(1);
    notify_all(e.parking);
}

static_assert(sizeof(Semaphore) <= kLeastBlock && sizeof(Event) <= kLeastBlock);

}  // namespace allcores
