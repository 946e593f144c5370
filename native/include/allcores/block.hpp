// Blocks of the arena: their words, their sizes, and where they lie.
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
// Cold: free and its memory given back. The generation counts how often that happened, `uses` how often it was given back
// at all: so a word seen once names one use of the block.
struct BlockWord {
    u64 raw;
    Slot owner() const { return static_cast<Slot>(raw); }
    BlockState state() const { return static_cast<BlockState>(raw >> 16 & 0xff); }
    bool is_owned() const { return state() == BlockState::owned || state() == BlockState::root; }
    bool cold() const { return (raw >> 24 & 0xff) != 0; }
    u32 generation() const { return static_cast<u32>(raw >> 48); }
    BlockWord with(BlockState s, Slot owner) const {
        return {(raw & 0xffffffff'00000000) | static_cast<u64>(s) << 16 | owner};
    }
    BlockWord used_again() const {
        constexpr u64 kUses = u64{0xffff} << 32;
        return {(raw & ~kUses) | ((raw + (u64{1} << 32)) & kUses)};
    }
    BlockWord chilled() const { return {(raw + (u64{1} << 48)) | u64{1} << 24}; }
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

// How much of a block this process has mapped, since when.
struct Populated {
    u32 generation = 0;
    u64 bytes = 0;
};

inline constexpr u64 kExtentsAt = align_up(kClassesAt + kClasses * sizeof(SizeClass), 4096);
inline constexpr u64 kBlocksAt = align_up(kExtentsAt + kMaxExtents * sizeof(Extent), 2 << 20);

inline constexpr u64 kLeastBlock = 256;
inline constexpr u64 kExtentBytes = 1 << 20;
// From here on memory is asked for in one go, with an error where plain touching would be a SIGBUS.
inline constexpr u64 kPopulateFrom = 64 << 10;
// From here on the system is asked how much memory it has before fresh memory is taken (memory.hpp).
inline constexpr u64 kAskFrom = 16 << 20;
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

}  // namespace allcores
