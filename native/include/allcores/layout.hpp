// Where everything lies in the segment. One nameless memory file per program, mapped by every process at an
// address of its own: so nothing in it is a pointer, everything is an offset from the start.
//
//   [ header | participants | waiters | classes | extents | blocks -> ]
//
// The file is sparse: a table that is reserved but not used costs address space and no memory.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace allcores {

using i64 = std::int64_t;
using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

// Two 64-byte lines: x86 prefetches lines in pairs, so neighbours on one pair would still disturb each other.
inline constexpr std::size_t kCacheLine = 128;

inline constexpr u64 kMagic = 0x5345524f434c4c41;  // "ALLCORES" in memory
// Raised by every change of layout: a process of another version refuses to attach.
inline constexpr u32 kLayoutVersion = 6;

inline constexpr u32 kMaxParticipants = 1024;
inline constexpr u32 kMaxWaiters = 4096;
inline constexpr u32 kMaxExtents = 1U << 18;
inline constexpr u32 kBlocksPerExtent = 64;
inline constexpr u32 kClasses = 128;
inline constexpr u32 kExtentsPerClass = 1U << 14;

// A slot in the table of participants, plus one: 0 means nobody. 16 bits, so that it fits into every word.
using Slot = u16;

// In the word of a worker's task: it is ended for this task (condemn.hpp).
inline constexpr u64 kCondemned = u64{1} << 63;

inline constexpr u32 kSlotWords = kMaxParticipants / 64;

struct alignas(kCacheLine) Header {
    u64 magic;
    u32 version;
    u32 usable_cpus;   // what spinning may use: affinity and cgroup quota, as the creator saw them
    u64 bytes;         // size of the file
    u64 program;       // random: tells a handle of this program from another's
    u32 creator_pid;
    u32 creator_fd;    // where /proc/PID/fd/N finds the file
    u64 warm_limit;    // free blocks beyond this many bytes give their memory back at once
    u32 idle_seconds;  // after which any free block does; 0: never

    alignas(kCacheLine) std::atomic<u64> runnable[kSlotWords];  // bit per participant: not parked

    alignas(kCacheLine) std::atomic<u32> participants_used;     // no slot at or above was ever taken
    alignas(kCacheLine) std::atomic<u32> extents_used;
    std::atomic<u64> next_byte;                                 // where the next extent begins
    std::atomic<u64> warm_bytes;                                // free and not given back; only steers, never owed
    std::atomic<i64> tended;                                    // when somebody last looked for memory that is idle

    alignas(kCacheLine) std::atomic<u64> recovering;            // pid:32 | slot of the process that settles a death; 0: none
    std::atomic<u32> recovered;                                 // futex: changes when a death has been settled
    std::atomic<u32> locks_made;                                // their running numbers
    std::atomic<u32> waiters_used;                              // no record at or above was ever taken
    std::atomic<u64> tickets;                                   // of blocked acquires: the order in which they began

    alignas(kCacheLine) std::atomic<u32> several;               // futex of all who wait for several things: counts changes
};

static_assert(std::atomic<u64>::is_always_lock_free && std::atomic<u32>::is_always_lock_free);
static_assert(sizeof(Header) == 6 * kCacheLine);

inline constexpr u64 align_up(u64 value, u64 step) { return (value + step - 1) / step * step; }

}  // namespace allcores
