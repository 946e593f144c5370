// Memory that nobody uses goes back to the system, whatever the size of its blocks:
//
//     FREE --notice--> FREE since t --claim--> OWNED(me) --punch, release--> FREE, cold
//
// A free block is noticed in its own word, which any use changes. One that is still as it was noticed some seconds later is
// claimed as if to be used; so nobody is asked, and nobody waits. Who dies in between leaves blocks that it owned, as any
// other: recovery frees them. Claimed they are of a new generation: nobody counts on pages of the old.
//
// Nobody is there for this alone: who waits long or gives much back looks, in the whole program once a second; and who takes
// much fresh memory while much is free.
#pragma once

#include "pages.hpp"
#include "step.hpp"

namespace allcores {

// At most so much in one look, whose finder wanted something else: about 30 ms.
inline constexpr u64 kMostAtOnce = 256 << 20;
// With less than this in all there is nothing to look for.
inline constexpr u64 kWorthALook = 4 << 20;
// Seconds, where much is free. The sixty-four megabytes that take longest to have again cost a hundredth of it.
inline constexpr u32 kIdleIfMuch = 2;
inline constexpr i64 kLooksApart = 1'000'000'000;

// The second as a block's word has it, never 0. It comes round after 18 hours: then a block is given back some seconds later.
#ifdef ALLCORES_SECOND  // a test's own clock
inline u16 second_now() { return ALLCORES_SECOND; }
#else
inline u16 second_now() { return static_cast<u16>(now_ns() / 1'000'000'000 % 0xffff + 1); }
#endif
inline u32 seconds_between(u16 then, u16 now) { return (now + 0xffffU - then) % 0xffff; }

class Trim {
public:
    // Of blocks that have been free for `idle` seconds; 0: of all that are free.
    Trim(const Blocks& blocks, u32 idle) : blocks_(blocks), idle_(idle), now_(second_now()) {}

    // Bytes given back: `most`, or a little more. The newest blocks first: of a size the oldest are taken first, and used most.
    u64 run(u64 most) {
        for (u32 e = blocks_.extents_used(); --e >= 1 && given_ < most;) {
            // Only a hint, but recovery sets it right; and those whose blocks are all in use are most of the table.
            if (blocks_.extent(e).free_hint.load(std::memory_order_relaxed) != 0) look_at(e);
        }
        return given_;
    }
    // Bytes of those it looked at that were free and have memory.
    u64 left() const { return warm_ - given_; }

private:
    void look_at(u32 e) {
        u64 worth = 0;
        for_each_run(idle_in(e), [&](u32 b, u32 n) {
            if (whole_pages(e, b, n).bytes != 0) worth |= mask(n) << b;
        });
        if (worth == 0) return;
        const u64 mine = claim(e, worth);
        for_each_run(mine, [&](u32 b, u32 n) { give_back(e, b, n); });
        blocks_.hint(e, mine);
    }

    // A bit for each block that could go. Notices those that were not.
    u64 idle_in(u32 e) {
        u64 found = 0;
        for (u32 b = 0; b < blocks_.blocks_of(e); ++b) {
            auto& word = blocks_.extent(e).words[b];
            BlockWord w{word.load(std::memory_order_relaxed)};
            if (w.state() != BlockState::free || w.has_nothing_to_give()) continue;
            warm_ += blocks_.size(e * kBlocksPerExtent);
            const bool noticed = w.owner() != 0;
            if (idle_ == 0 || (noticed && seconds_between(w.owner(), now_) >= idle_)) {
                found |= u64{1} << b;
            } else if (!noticed) {
                word.compare_exchange_strong(w.raw, w.with(BlockState::free, now_).raw);
            }
        }
        return found;
    }

    // Those that nobody takes meanwhile.
    u64 claim(u32 e, u64 blocks) {
        u64 mine = 0;
        const u64 size = class_bytes(blocks_.extent(e).size_class);
        for (u32 b = 0; b < kBlocksPerExtent; ++b) {
            auto& word = blocks_.extent(e).words[b];
            BlockWord w{word.load(std::memory_order_relaxed)};
            if ((blocks >> b & 1) == 0 || w.state() != BlockState::free || w.has_nothing_to_give()) continue;
            // SYNC POINT block-handed-on
            if (!word.compare_exchange_strong(w.raw, w.renewed().with(BlockState::owned, blocks_.segment().me).raw)) continue;
            if (size >= kGiveBackFrom) blocks_.segment().header().warm_bytes.fetch_sub(size);
            mine |= u64{1} << b;
            STEP("trim.claimed");
        }
        return mine;
    }

    // Blocks that share a page with others keep what they have of it.
    void give_back(u32 e, u32 first, u32 n) {
        const Range pages = whole_pages(e, first, n);
        const bool gone = pages.bytes != 0 && punch(blocks_.segment(), pages.from, pages.bytes);
        STEP("trim.punched");
        if (gone) given_ += pages.bytes;
        for (u32 b = first; b < first + n; ++b) {
            const BlockId id = e * kBlocksPerExtent + b;
            const u64 from = blocks_.offset(id), size = blocks_.size(id);
            const bool cold = gone && from >= pages.from && from + size <= pages.from + pages.bytes;
            if (!cold && size >= kGiveBackFrom) blocks_.segment().header().warm_bytes.fetch_add(size);
            const BlockWord w = blocks_.look(id).freed();
            // SYNC POINT block-handed-on
            blocks_.word_of(id).store((cold ? w.cooled() : gone ? w.cooled_in_part() : w).raw, std::memory_order_release);
            STEP("trim.released");
        }
    }

    struct Range {
        u64 from, bytes;
    };
    Range whole_pages(u32 e, u32 first, u32 n) const {
        const BlockId id = e * kBlocksPerExtent + first;
        const u64 from = align_up(blocks_.offset(id), kPage);
        const u64 to = (blocks_.offset(id) + n * blocks_.size(id)) / kPage * kPage;
        return {from, to > from ? to - from : 0};
    }

    static u64 mask(u32 n) { return n == 64 ? ~u64{0} : (u64{1} << n) - 1; }

    template <class F>
    static void for_each_run(u64 bits, F&& f) {
        while (bits != 0) {
            const u32 first = static_cast<u32>(std::countr_zero(bits));
            const u32 n = static_cast<u32>(std::countr_one(bits >> first));
            f(first, n);
            bits &= ~(mask(n) << first);
        }
    }

    const Blocks& blocks_;
    u32 idle_;
    u16 now_;
    u64 given_ = 0, warm_ = 0;
};

// Free memory is too much if it is more than a quarter of what is in use: then it need not be idle as long.
inline bool is_too_much(const Segment& seg, u64 warm) { return warm > backed_bytes(seg) / 5; }

// Gives back what has long been idle, if nobody in the program has looked just now.
inline void tend(const Blocks& blocks) {
    Header& h = blocks.segment().header();
    if (h.idle_seconds == 0) return;
    const i64 now = now_ns();
    i64 last = h.tended.load(std::memory_order_relaxed);
    if (now - last < kLooksApart || !h.tended.compare_exchange_strong(last, now)) return;
    if (backed_bytes(blocks.segment()) < kWorthALook) return;
    Trim trim(blocks, h.idle_seconds);
    const u64 given = trim.run(kMostAtOnce);
    if (given < kMostAtOnce && h.idle_seconds > kIdleIfMuch && is_too_much(blocks.segment(), trim.left()))
        Trim(blocks, kIdleIfMuch).run(kMostAtOnce - given);
}

// Before so much fresh memory is taken: of other sizes as much is given back, if much is free. So what the program has does not
// grow by each size that it comes to use.
inline void make_good(const Blocks& blocks, u64 bytes) {
    Header& h = blocks.segment().header();
    if (h.idle_seconds != 0 && is_too_much(blocks.segment(), blocks.warm())) Trim(blocks, 1).run(bytes);
}

}  // namespace allcores
