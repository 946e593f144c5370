// How a ring lies in memory: its positions, its cells, and what they carry. What is done with it is in ring.hpp.
#pragma once

#include "object.hpp"

namespace allcores {

enum class CellState : u8 { free, writing, committing, ready, reading, tomb, sealed };

struct CellWord {
    u64 raw;
    static CellWord make(u32 turn, CellState s, Slot owner = 0) {
        return {static_cast<u64>(turn) << 32 | static_cast<u64>(s) << 28 | owner};
    }
    u32 turn() const { return static_cast<u32>(raw >> 32); }
    // Turns wrap round (a ring of one cell needs an hour or so for that): only their distance counts.
    i64 turns_after(u32 turn) const { return static_cast<std::int32_t>(this->turn() - turn); }
    CellState state() const { return static_cast<CellState>(raw >> 28 & 0xf); }
    Slot owner() const { return static_cast<Slot>(raw); }
};

inline constexpr u32 kInline = 216;

// What a cell carries: two numbers for the user of the ring, and a body, inline or in one block that may name more.
struct Message {
    u64 a;
    u64 b;
    u32 size;       // bytes inline
    BlockId root;   // or the block with the body
    u8 kind;        // how the body is encoded (codec of the bindings)
    u8 flags;
    u16 tag;        // also in the words of its blocks while they are on their way: they are this message's
    u8 pad[4];
    char body[kInline];
};

// Message flags.
inline constexpr u8 kAnswersTask = 1;  // publishing it ends the task that its sender was running
inline constexpr u8 kIsTask = 2;       // taking it makes it the task that its receiver is running
inline constexpr u8 kDamaged = 4;      // only in a copy: the bytes that arrived cannot be what was sent

struct Cell {
    std::atomic<u64> word;
    Message message;
};

static_assert(sizeof(Cell) == 256);

// The body in a root block: which other blocks hold the message's buffers, which objects it has a handle of, then the
// pickle. Each handle is a pin of its object, until whoever unpacks the message, or gives it up, undoes it.
struct Root {
    u64 pickle_bytes;
    u32 buffers;
    u32 handles;
    struct Buffer {
        u64 bytes;
        BlockId block;
        u32 pad;
    };
    Buffer* buffer() { return reinterpret_cast<Buffer*>(this + 1); }
    u64* handle() { return reinterpret_cast<u64*>(buffer() + buffers); }  // as object.hpp has them
    char* pickle() { return reinterpret_cast<char*>(handle() + handles); }
    static u64 most_buffers(u64 block_bytes) { return (block_bytes - sizeof(Root)) / sizeof(Buffer); }
    bool fits(u64 block_bytes) const {
        return buffers <= most_buffers(block_bytes) && handles <= (block_bytes - bytes_for(0, buffers)) / sizeof(u64) &&
               pickle_bytes <= block_bytes - bytes_for(0, buffers, handles);
    }
    static u64 bytes_for(u64 pickle, u32 buffers, u32 handles = 0) {
        return sizeof(Root) + buffers * sizeof(Buffer) + handles * sizeof(u64) + pickle;
    }
};

inline void copy_message(Message& to, const Message& from) {
    std::memcpy(&to, &from, offsetof(Message, body) + (from.root != 0 ? 0 : std::min(from.size, kInline)));
}

inline Root& root_of(Arena& arena, BlockId root) { return *reinterpret_cast<Root*>(arena.data(root)); }

// Whether a root block and those it names are good(), and what is said to be in them fits.
template <class F>
bool is_whole(Arena& arena, BlockId id, F&& good) {
    if (!good(id) || !root_of(arena, id).fits(arena.size(id))) return false;
    Root& root = root_of(arena, id);
    for (u32 i = 0; i < root.buffers; ++i) {
        const Root::Buffer& b = root.buffer()[i];
        if (!good(b.block) || b.bytes > arena.size(b.block)) return false;
    }
    return true;
}

// Of the blocks that a message names, those that are in flight or the owner's: damaged bytes may name any. The root comes
// last, since the others are read in it.
template <class F>
void for_each_block(Arena& arena, const Message& m, Slot owner, F&& f) {
    if (m.root == 0 || !arena.travels(m.root, m.tag, owner)) return;
    Root& root = root_of(arena, m.root);
    const u64 n = std::min<u64>(root.buffers, Root::most_buffers(arena.size(m.root)));
    for (u64 i = 0; i < n; ++i) {
        const BlockId id = root.buffer()[i].block;
        if (id != m.root && arena.travels(id, m.tag, owner)) f(id);
    }
    f(m.root);
}

// Each can be done again after a death in the middle.
inline void hand_over_blocks(Arena& arena, const Message& m, Slot sender) {
    for_each_block(arena, m, sender, [&](BlockId id) {
        arena.set(id, BlockState::in_flight, m.tag);
        STEP("handover.block");
    });
}
// Of damaged bytes nothing is accepted: what they name may be on its way to others. It stays to the end of the program.
inline void accept_blocks(Arena& arena, Message& m) {
    if (m.root == 0) return;
    u64 accepted = 0;
    if (is_whole(arena, m.root, [&](BlockId id) { return arena.travels(id, m.tag, 0); })) {
        for_each_block(arena, m, 0, [&](BlockId id) {
            arena.set(id, id == m.root && root_of(arena, id).handles != 0 ? BlockState::root : BlockState::owned);
            ++accepted;
            STEP("take.block_accepted");
        });
    }
    // A block that was named twice is accepted once.
    if (accepted != 0 && accepted == root_of(arena, m.root).buffers + u64{1}) return;
    m.flags |= kDamaged;
    m.root = 0;
}
// The handles of a message are no longer on their way. Killed in between, one stays pinned: never one too few.
inline void unpin_handles(Segment& seg, Arena& arena, BlockId id) {
    Root& root = root_of(arena, id);
    if (!root.fits(arena.size(id))) return;
    for (u32 i = 0; i < root.handles; ++i) {
        const u64 handle = root.handle()[i];
        const u64 offset = offset_of(handle);
        const bool is_there = is_object_at(seg, arena, offset);
        if (is_there && side_of(handle) != 0) {
            root.handle()[i] = offset;  // from here on it names the object alone
            unpin_side(seg, arena, handle);
        }
        root.handle()[i] = 0;
        if (!is_there) continue;
        Object& o = seg.at<Object>(offset);
        const BlockId block = o.head.block;
        const BlockWord seen = arena.look(block);
        unpin(o);
        if (!is_held(o) && arena.claim(block, seen.with(BlockState::object, 0))) end_unheld(seg, arena, o);
    }
}

// Of a message that nobody will unpack.
inline void give_back_blocks(Segment& seg, Arena& arena, const Message& m, Slot owner) {
    if (m.root != 0 && arena.travels(m.root, m.tag, owner)) unpin_handles(seg, arena, m.root);
    for_each_block(arena, m, owner, [&](BlockId id) {
        if (arena.look(id).is_owned()) arena.give_back(id);
    });
}

inline constexpr u64 kClosed = u64{1} << 63;

// head = version:16 | position:48. The version makes a stale help_head fail after recovery has lowered the head.
inline constexpr u64 kPositionBits = 48;
inline constexpr u64 kPositionMask = (u64{1} << kPositionBits) - 1;

struct Ring {
    ObjectHead head_of_block;
    u64 capacity;
    u32 grows;                                            // closes when full, and goes on in `next`
    u32 pad;
    alignas(kCacheLine) std::atomic<u64> tail;            // position | kClosed
    alignas(kCacheLine) std::atomic<u64> head;
    alignas(kCacheLine) std::atomic<u64> next;            // offset of the ring that follows; 0: none yet

    Cell& cell(u64 position) { return reinterpret_cast<Cell*>(this + 1)[position % capacity]; }
    u32 turn(u64 position) const { return static_cast<u32>(position / capacity); }
    static u64 bytes_for(u64 capacity) { return sizeof(Ring) + capacity * sizeof(Cell); }
};

static_assert(sizeof(Ring) == 4 * kCacheLine);

}  // namespace allcores
