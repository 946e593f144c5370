// The memory behind blocks: had in one call instead of by a fault for each page, and given back to the system.
#pragma once

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <mutex>
#include <unordered_map>

#include "block.hpp"

namespace allcores {

// From here on memory is asked for in one go, with an error where plain touching would be a SIGBUS.
inline constexpr u64 kPopulateFrom = 64 << 10;
// From here on copies go past the caches. Larger than what the receiver finds in its cache: below, it would miss that more than
// the sender gains, and more than one of both in it. 64 MB: 0.7 of the time of memcpy, which has limits of its own for this, made for processes alone.
inline constexpr u64 kStreamFrom = 16 << 20;
inline constexpr u64 kPage = 4096;

inline void copy_bytes(char* to, const void* from, u64 bytes) {
#if defined(__SSE2__)
    if (bytes >= kStreamFrom && reinterpret_cast<std::uintptr_t>(to) % sizeof(__m128i) == 0) {
        const u64 whole = bytes / 64 * 64;
        auto* t = reinterpret_cast<__m128i*>(to);
        auto* f = static_cast<const __m128i*>(from);
        for (u64 i = 0; i < whole / 16; i += 4) {
            const __m128i a = _mm_loadu_si128(f + i), b = _mm_loadu_si128(f + i + 1);
            const __m128i c = _mm_loadu_si128(f + i + 2), d = _mm_loadu_si128(f + i + 3);
            _mm_stream_si128(t + i, a);
            _mm_stream_si128(t + i + 1, b);
            _mm_stream_si128(t + i + 2, c);
            _mm_stream_si128(t + i + 3, d);
        }
        _mm_sfence();  // such stores are ordered by nothing else
        std::memcpy(to + whole, static_cast<const char*>(from) + whole, bytes - whole);
        return;
    }
#endif
    std::memcpy(to, from, bytes);
}

// Bytes that the segment really has of the machine's memory.
inline u64 backed_bytes(const Segment& seg) {
    struct stat st;
    return fstat(seg.fd, &st) == 0 ? static_cast<u64>(st.st_blocks) * 512 : 0;
}

// Whole pages go back to the system, out of every process; they read as zeros afterwards. False: they stay.
inline bool punch(const Segment& seg, u64 offset, u64 bytes) {
    return fallocate(seg.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                     static_cast<off_t>(bytes)) == 0;
}

// What this process has mapped.
class Pages {
public:
    explicit Pages(const Blocks& blocks) : blocks_(blocks) {}

    // Before a fork, and after it in both: or the child might inherit the lock from a thread that it does not have.
    void lock() { mutex_.lock(); }
    void unlock() { mutex_.unlock(); }

    // Maps the first `bytes` of a block, which this process owns. False: no memory.
    bool populate(BlockId id, u64 bytes) {
        if (bytes < kPopulateFrom) return true;
        const u32 generation = blocks_.look(id).generation();
        {
            std::lock_guard guard(mutex_);
            const Mapped& m = mapped_[id];
            if (m.generation == generation && m.bytes >= bytes) return true;
        }
#ifdef MADV_POPULATE_READ
        // For reading: in shared memory that makes missing pages as well, and maps all of them writable; but pages that are
        // there already, another process's, come sixteen at a time: a third of the price of POPULATE_WRITE.
        const u64 from = blocks_.offset(id) / kPage * kPage;
        const u64 to = align_up(blocks_.offset(id) + bytes, kPage);
        if (madvise(blocks_.segment().base + from, to - from, MADV_POPULATE_READ) != 0 && errno != EINVAL) return false;
#endif
        std::lock_guard guard(mutex_);
        mapped_[id] = {generation, bytes};
        return true;
    }

    // Fills fresh memory without mapping it: no page is zeroed first, none faults. Half of the price of populate() and a copy;
    // of memory that is there it would be twice. False: no memory.
    bool write(BlockId id, const void* from, u64 bytes) {
        const char* rest = static_cast<const char*>(from);
        for (u64 at = blocks_.offset(id); bytes != 0;) {
            const ssize_t n = pwrite(blocks_.segment().fd, rest, bytes, static_cast<off_t>(at));
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) return false;
            rest += n;
            at += static_cast<u64>(n);
            bytes -= static_cast<u64>(n);
        }
        return true;
    }

private:
    // How much of a block, and since when.
    struct Mapped {
        u32 generation = 0;
        u64 bytes = 0;
    };
    const Blocks& blocks_;
    std::mutex mutex_;
    std::unordered_map<BlockId, Mapped> mapped_;
};

}  // namespace allcores
