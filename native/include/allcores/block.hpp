// Blocks of the arena: their words, their sizes, and where they lie. Who takes them and gives them back is in arena.hpp.
#pragma once

#include <bit>

#include "segment.hpp"

namespace allcores {

// Extent and index in it; 0 means none.
using BlockId = u32;

enum class BlockState : u8 {
    free,
    owned,      // by the process in the word
    root,       // likewise, and it begins a message whose handles pin objects: for its end they are unpinned
    in_flight,  // by the ring cell that names it; in the place of an owner is the tag of its message
    object,     // by its holders (object.hpp) or by the ring chain it is part of
    claimed,    // an object that the process in the word ends, or looks at for the dead
};

//   block word = generation:16 | uses:16 | cold:8 | state:8 | owner:16
// Cold: free, and none of its memory is there: it was never used, or has gone back to the system. The generation counts how
// often that may have happened, `uses` how often it was given back at all: so a word seen once names one use of the block.
// A free block has in the place of an owner the second in which it was noticed (trim.hpp); 0: not yet.
struct BlockWord {
    u64 raw;
    Slot owner() const { return static_cast<Slot>(raw); }
    BlockState state() const { return static_cast<BlockState>(raw >> 16 & 0xff); }
    bool is_owned() const { return state() == BlockState::owned || state() == BlockState::root; }
    bool cold() const { return (raw >> 24 & 1) != 0; }
    bool has_nothing_to_give() const { return (raw >> 24 & 0xff) != 0; }  // all of its own pages are gone
    u32 generation() const { return static_cast<u32>(raw >> 48); }
    BlockWord with(BlockState s, Slot owner) const {
        return {(raw & 0xffffffff'00000000) | static_cast<u64>(s) << 16 | owner};
    }
    BlockWord used_again() const {
        constexpr u64 kUses = u64{0xffff} << 32;
        return {(raw & ~kUses) | ((raw + (u64{1} << 32)) & kUses)};
    }
    BlockWord freed() const { return {raw & ~u64{0xffffff}}; }
    BlockWord renewed() const { return {raw + (u64{1} << 48)}; }  // what was mapped of it may be there no more
    BlockWord cooled() const { return {raw | u64{1} << 24}; }
    BlockWord cooled_in_part() const { return {raw | u64{2} << 24}; }
};

struct Extent {
    u64 offset;
    u32 size_class;
    std::atomic<u32> blocks;         // SYNC POINT extent-visible: what is above is written before this is not 0
    std::atomic<u32> index;          // in its class; only a hint where to hint
    std::atomic<u64> free_hint;
    std::atomic<u64> words[kBlocksPerExtent];
};

struct SizeClass {
    alignas(kCacheLine) std::atomic<u32> used;                 // extents below this index exist
    std::atomic<u64> free_hint[kExtentsPerClass / 64];         // bit per extent: may have a free block
    std::atomic<u32> extents[kExtentsPerClass];
};

inline constexpr u64 kExtentsAt = align_up(kClassesAt + kClasses * sizeof(SizeClass), 4096);
inline constexpr u64 kBlocksAt = align_up(kExtentsAt + kMaxExtents * sizeof(Extent), 2 << 20);

inline constexpr u64 kLeastBlock = 256;
inline constexpr u64 kExtentBytes = 1 << 20;
// From here on the system is asked how much memory it has before fresh memory is taken (memory.hpp).
inline constexpr u64 kAskFrom = 16 << 20;
// From here on a block's memory goes back at once if too much is warm; and its extent is its own.
inline constexpr u64 kGiveBackFrom = 1 << 20;

// Powers of two with four steps between: at most a quarter is wasted, and only in address space.
inline u64 class_bytes(u32 c) { return (kLeastBlock << (c / 4)) / 4 * (4 + c % 4); }

inline u32 class_for(u64 bytes) {
    if (bytes <= kLeastBlock) return 0;
    const u32 power = static_cast<u32>(std::bit_width(bytes - 1)) - 1;  // 2^power < bytes <= 2^(power+1)
    const u64 step = (u64{1} << power) / 4;
    const u64 quarter = (bytes - (u64{1} << power) + step - 1) / step;  // 1..4
    return (power - 8) * 4 + static_cast<u32>(quarter);
}

// The table of extents, and the blocks in them by their numbers.
class Blocks {
public:
    explicit Blocks(Segment& seg) : seg_(seg) {}

    BlockWord look(BlockId id) const { return {word_of(id).load(std::memory_order_acquire)}; }
    bool exists(BlockId id) const {
        const u32 e = id / kBlocksPerExtent;
        return e != 0 && e < extents_used() && id % kBlocksPerExtent < blocks_of(e);
    }
    u64 offset(BlockId id) const {
        const Extent& e = extent(id / kBlocksPerExtent);
        return e.offset + (id % kBlocksPerExtent) * class_bytes(e.size_class);
    }
    u64 size(BlockId id) const { return class_bytes(extent(id / kBlocksPerExtent).size_class); }
    char* data(BlockId id) const { return seg_.base + offset(id); }

    Segment& segment() const { return seg_; }
    u32 extents_used() const { return seg_.header().extents_used.load(); }
    // SYNC POINT extent-visible
    u32 blocks_of(u32 e) const { return extent(e).blocks.load(std::memory_order_acquire); }
    Extent& extent(u32 e) const { return seg_.at<Extent>(kExtentsAt + e * sizeof(Extent)); }
    SizeClass& size_class(u32 c) const { return seg_.at<SizeClass>(kClassesAt + c * sizeof(SizeClass)); }
    std::atomic<u64>& word_of(BlockId id) const {
        return extent(id / kBlocksPerExtent).words[id % kBlocksPerExtent];
    }

    // Bytes of large free blocks that have memory. A recovery sets it while others count: it may be too low, below 0 even.
    u64 warm() const {
        const i64 bytes = static_cast<i64>(seg_.header().warm_bytes.load());
        return bytes > 0 ? static_cast<u64>(bytes) : 0;
    }

    // Free blocks are looked for where there are hints.
    void hint(BlockId id) const { hint(id / kBlocksPerExtent, u64{1} << (id % kBlocksPerExtent)); }
    void hint(u32 e, u64 blocks) const {
        Extent& ext = extent(e);
        ext.free_hint.fetch_or(blocks);
        const u32 i = ext.index.load(std::memory_order_relaxed);
        size_class(ext.size_class).free_hint[i / 64].fetch_or(u64{1} << (i % 64));
    }

protected:
    Segment& seg_;
};

}  // namespace allcores
