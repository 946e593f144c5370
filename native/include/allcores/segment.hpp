// The segment: one nameless memory file, created by the program's first process, inherited or attached by all
// others, and who takes part in it. Ends with its last process: the kernel owns it, no name is left anywhere.
#pragma once

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "done.hpp"
#include "futex.hpp"

namespace allcores {

// A short name in shared memory, cut where it is too long. Words, so that who reads it while it changes reads no garbage
// beyond it.
struct Name {
    std::atomic<u64> words[4];
    void set(const char* text) {
        char buffer[sizeof words] = {};
        std::strncpy(buffer, text, sizeof buffer - 1);
        set_words(reinterpret_cast<const u64*>(buffer));
    }
    void set(const Name& other) {
        u64 copy[4];
        for (int i = 0; i < 4; ++i) copy[i] = other.words[i].load(std::memory_order_relaxed);
        set_words(copy);
    }
    // Into 33 characters.
    const char* get(char* text) const {
        for (int i = 0; i < 4; ++i) {
            const u64 w = words[i].load(std::memory_order_relaxed);
            std::memcpy(text + i * 8, &w, 8);
        }
        text[32] = 0;
        return text;
    }

private:
    void set_words(const u64* from) {
        for (int i = 0; i < 4; ++i) words[i].store(from[i], std::memory_order_relaxed);
    }
};

// How far a participant is: its `life` tells of its death from `living` on; `settling` is one recovery's claim.
enum Stage : u32 { joining, living, settling };

// One process. `pid` is the claim: a slot is taken by the CAS that writes it, so it is never taken by nobody known.
struct alignas(kCacheLine) Participant {
    pthread_mutex_t life;            // robust, held for life: the kernel marks it when the process dies
    std::atomic<u32> pid;
    std::atomic<u32> stage;          // Stage
    std::atomic<u32> supervised;     // a template is its parent and will settle its death
    std::atomic<u32> is_template;    // runs nothing of the user's
    std::atomic<u32> uses;           // how many had the slot before: with the slot, the name of one process for ever
    Name name;                       // of the process, as the user knows it
    // What a pool worker is at, for whoever has to report its death, or to end it (condemn.hpp).
    alignas(kCacheLine) std::atomic<u64> task;   // the task it took and has not answered; 0: none
    std::atomic<u64> crew;           // channel to report its death to; 0: none
    std::atomic<u64> given_up;       // the task that nobody waits for any more: its worker may leave it
    std::atomic<u32> item;           // which item of that task
    Done done;
    std::atomic<u64> run;            // of an item with a time limit (condemn.hpp): number:62 | TimedState
    std::atomic<i64> began;          // when that item did, and when its time is over; of the item that `run` names
    std::atomic<i64> until;

    bool is_given_up() const {
        const u64 given = given_up.load(std::memory_order_relaxed);
        return given != 0 && given == (task.load(std::memory_order_relaxed) & ~kCondemned);
    }
};

static_assert(sizeof(Participant) == 2 * kCacheLine);

// A thread that is blocked in an acquire (deadlock.hpp).
struct Waiter {
    std::atomic<u64> thread;         // as in the word of a lock; 0: the record is free
    std::atomic<u64> ticket;         // 0: not waiting yet
    std::atomic<u64> lock;           // offset of the LockState
    std::atomic<u64> where;          // offset of the text that says which line of the program; 0: not known
};

inline constexpr u64 kParticipantsAt = 4096;
inline constexpr u64 kWaitersAt = kParticipantsAt + kMaxParticipants * sizeof(Participant);
inline constexpr u64 kClassesAt = kWaitersAt + kMaxWaiters * sizeof(Waiter);
static_assert(sizeof(Header) <= kParticipantsAt);

// This process's view of the segment. `me` is its slot; a forked child must `join` again for one of its own.
struct Segment {
    char* base = nullptr;
    u64 bytes = 0;
    int fd = -1;
    Slot me = 0;

    Header& header() const { return *reinterpret_cast<Header*>(base); }

    template <class T>
    T& at(u64 offset) const {
        return *reinterpret_cast<T*>(base + offset);
    }
    u64 offset_of(const void* p) const { return static_cast<u64>(static_cast<const char*>(p) - base); }

    Participant& participant(Slot slot) const {
        return at<Participant>(kParticipantsAt + (slot - 1U) * sizeof(Participant));
    }

    // The kernel alone says who is dead: it sets this bit while the process is still a zombie, before anyone can
    // reuse its pid. One load.
    bool is_dead(Slot slot) const {
        const Participant& p = participant(slot);
        const auto* word = reinterpret_cast<const volatile u32*>(&p.life.__data.__lock);
        return p.stage.load(std::memory_order_acquire) != joining && (*word & FUTEX_OWNER_DIED) != 0;
    }

    // Whether the process that had the slot when it had been used so often has ended. Asked in this order, since a slot is given
    // up in the other.
    bool is_gone(Slot slot, u32 use) const {
        return is_dead(slot) || participant(slot).uses.load(std::memory_order_acquire) != use;
    }

    void set_runnable(bool on) const {
        if (me == 0) return;
        auto& word = header().runnable[(me - 1U) / 64];
        const u64 bit = u64{1} << ((me - 1U) % 64);
        if (on) {
            word.fetch_or(bit, std::memory_order_relaxed);
        } else {
            word.fetch_and(~bit, std::memory_order_relaxed);
        }
    }

    u32 runnable() const {
        const u32 words = (header().participants_used.load(std::memory_order_relaxed) + 63) / 64;
        int n = 0;
        for (u32 i = 0; i < words; ++i) n += __builtin_popcountll(header().runnable[i].load(std::memory_order_relaxed));
        return static_cast<u32>(n);
    }
};

inline bool map_segment(Segment& seg, int fd, u64 bytes) {
    void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (p == MAP_FAILED) return false;
    madvise(p, bytes, MADV_DONTDUMP);  // a core dump of one process need not hold everybody's arrays
    seg.base = static_cast<char*>(p);
    seg.bytes = bytes;
    seg.fd = fd;
    return true;
}

// `bytes` is halved until it can be mapped: RLIMIT_AS may be set. Returns false with errno.
inline bool create_segment(Segment& seg, u64 bytes, u64 least, u64 first_block, u32 cpus, u64 program, u64 warm,
                           u32 idle = 0) {
    const int fd = memfd_create("allcores", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return false;
    while (ftruncate(fd, static_cast<off_t>(bytes)) != 0 || !map_segment(seg, fd, bytes)) {
        bytes /= 2;
        if (bytes < least) {
            const int why = errno;
            close(fd);
            errno = why;
            return false;
        }
    }
    // A file that shrank would turn every access into SIGBUS: the seal makes that impossible.
    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    Header& h = seg.header();
    h.magic = kMagic;
    h.version = kLayoutVersion;
    h.usable_cpus = cpus;
    h.bytes = bytes;
    h.program = program;
    h.creator_pid = static_cast<u32>(getpid());
    h.creator_fd = static_cast<u32>(fd);
    h.warm_limit = warm;
    h.idle_seconds = idle;
    h.extents_used.store(1);  // extent 0 is nobody's, so that block 0 means none
    h.next_byte.store(first_block);
    return true;
}

// Takes `fd` over on success. Refuses what is not a segment of this layout.
inline bool attach_segment(Segment& seg, int fd) {
    struct stat st;
    if (fstat(fd, &st) != 0 || st.st_size < static_cast<off_t>(sizeof(Header))) return false;
    if (!map_segment(seg, fd, static_cast<u64>(st.st_size))) return false;
    const Header& h = seg.header();
    if (h.magic == kMagic && h.version == kLayoutVersion && h.bytes == seg.bytes) return true;
    munmap(seg.base, seg.bytes);
    seg = Segment{};
    errno = EPROTO;
    return false;
}

inline void hold_life(Participant& p) {
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&p.life, &attr);
    pthread_mutexattr_destroy(&attr);
    pthread_mutex_lock(&p.life);
    p.stage.store(living, std::memory_order_release);
}

// Takes a slot for this process; false if all are taken. The calling thread must live as long as the process:
// robust lists belong to threads.
inline bool join_segment(Segment& seg) {
    const u32 pid = static_cast<u32>(getpid());
    for (u32 i = 1; i <= kMaxParticipants; ++i) {
        Participant& p = seg.participant(static_cast<Slot>(i));
        if (p.pid.load(std::memory_order_relaxed) != 0) continue;
        u32 used = seg.header().participants_used.load();
        while (used < i && !seg.header().participants_used.compare_exchange_weak(used, i)) {
        }
        u32 nobody = 0;  // only now: a claim above `used` would be found by no recovery
        if (!p.pid.compare_exchange_strong(nobody, pid)) continue;
        p.task.store(0);
        p.crew.store(0);
        p.item.store(0);
        p.given_up.store(0);
        p.done.clear();
        p.run.fetch_and(~u64{3});  // idle; the numbers of who had the slot before do not come again
        p.supervised.store(0);
        p.is_template.store(0);
        p.name.set("");
        hold_life(p);
        seg.me = static_cast<Slot>(i);
        seg.set_runnable(true);
        return true;
    }
    return false;
}

// After recovery, and only then, the slot may be used again.
inline void free_slot(Segment& seg, Slot slot) {
    Participant& p = seg.participant(slot);
    seg.header().runnable[(slot - 1U) / 64].fetch_and(~(u64{1} << ((slot - 1U) % 64)));
    p.uses.fetch_add(1);
    p.stage.store(joining);
    p.task.store(0);
    p.crew.store(0);
    p.pid.store(0, std::memory_order_release);
}

}  // namespace allcores
