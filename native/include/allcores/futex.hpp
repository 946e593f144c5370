// Sleeping on a word of shared memory, and waking who sleeps there. The only place that knows the futex call.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include "layout.hpp"

namespace allcores {

// Monotonic nanoseconds. kNever is a deadline that does not come.
inline constexpr i64 kNever = INT64_MAX;

inline i64 now_ns() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<i64>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

// As of the last tick of the kernel, some milliseconds ago and never ahead. Five times as cheap: 5 ns are not felt beside
// a lock, or a call of a tiny function.
inline i64 coarse_now_ns() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return static_cast<i64>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

enum class Sleep : u8 { woken, changed, timeout, interrupted };

inline Sleep futex_wait(std::atomic<u32>& word, u32 expected, i64 deadline) {
    timespec until{static_cast<time_t>(deadline / 1'000'000'000), static_cast<long>(deadline % 1'000'000'000)};
    // BITSET, because only it takes an absolute deadline: a relative one would drift with every interruption.
    const long r = syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, expected, deadline == kNever ? nullptr : &until,
                           nullptr, FUTEX_BITSET_MATCH_ANY);
    if (r == 0) return Sleep::woken;
    if (errno == ETIMEDOUT) return Sleep::timeout;
    return errno == EINTR ? Sleep::interrupted : Sleep::changed;
}

// How many were woken.
inline long futex_wake(std::atomic<u32>& word, int most) {
    return syscall(SYS_futex, &word, FUTEX_WAKE, most, nullptr, nullptr, 0);
}

inline void cpu_relax() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

}  // namespace allcores
