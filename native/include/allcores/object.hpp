// What lives in the segment and has holders: queues, locks, values. It ends with its last holder, in whichever process
// that is, a killed one included: a bit per process says who holds it, and recovery clears the bits of the dead.
#pragma once

#include "arena.hpp"

namespace allcores {

enum class Kind : u32 { none, ring, channel, lock, semaphore, event, data, bounded_semaphore, condition, barrier, pipe };

// At the start of every block in state `object`, so that recovery can walk them all.
struct ObjectHead {
    std::atomic<u32> kind;
    BlockId block;
};

struct Object {
    ObjectHead head;
    // count:32 low, and how often it was raised:32 high. A pin is a handle on its way in a message: it keeps the
    // object while the sender may let go and the receiver has not yet taken hold. A sender or receiver killed with a
    // pin leaves the object to the end of the program: never freed too early, sometimes too late.
    std::atomic<u64> pins;
    std::atomic<u64> holders[kSlotWords];
    u64 pad;
};

static_assert(sizeof(Object) == 152);

// Whether an object begins here: what a handle says may be damaged, or old.
inline bool is_object_at(const Segment& seg, const Arena& arena, u64 offset) {
    if (offset % 64 != 0 || offset < kBlocksAt || offset > seg.bytes - kLeastBlock) return false;
    const BlockId id = seg.at<ObjectHead>(offset).block;
    return arena.exists(id) && arena.offset(id) == offset && arena.look(id).state() >= BlockState::object;
}

// What has pins and holders: an Object, and each side of a pipe (pipe.hpp).
template <class T>
void hold(T& o, Slot slot) { o.holders[(slot - 1U) / 64].fetch_or(u64{1} << ((slot - 1U) % 64)); }

template <class T>
void pin(T& o) { o.pins.fetch_add(1 | u64{1} << 32); }
template <class T>
void unpin(T& o) { o.pins.fetch_sub(1); }

// What a handle names: the offset of an object; offsets are multiples of 64, and the lowest bits say which side of a pipe
// it is, if one.
inline constexpr u64 kSideBits = 3;
inline u64 side_of(u64 handle) { return handle & kSideBits; }
inline u64 offset_of(u64 handle) { return handle & ~kSideBits; }

// Ends an object that nobody holds. What that takes is known above (recover.hpp), and so is what a side's pin is (pipe.hpp).
inline void (*end_unheld)(Segment&, Arena&, Object&) = nullptr;
inline void (*unpin_side)(Segment&, Arena&, u64 handle) = nullptr;

template <class T>
bool is_held_by(const T& o, Slot slot) {
    return (o.holders[(slot - 1U) / 64].load() >> ((slot - 1U) % 64) & 1) != 0;
}
template <class T>
void clear_hold(T& o, Slot slot) {
    o.holders[(slot - 1U) / 64].fetch_and(~(u64{1} << ((slot - 1U) % 64)));
}

// A word of what may have ended by now, and its memory be anybody's who writes there as he likes. What such a look says is
// only acted upon by a claim of the block's word, which then fails. So ThreadSanitizer need not watch it.
template <class Word>
__attribute__((no_sanitize("thread"))) auto glimpse(const std::atomic<Word>& word) {
    static_assert(sizeof(word) == sizeof(Word));
    return __atomic_load_n(reinterpret_cast<const Word*>(&word), __ATOMIC_SEQ_CST);
}

template <class T>
bool is_held(const T& o) {
    for (;;) {
        const u64 before = glimpse(o.pins);
        if (static_cast<u32>(before) != 0) return true;
        for (const auto& word : o.holders) {
            if (glimpse(word) != 0) return true;
        }
        // A handle sent and received between the two looks has raised the pins: then somebody holds it after all.
        if (glimpse(o.pins) == before) return false;
    }
}

// Clears the hold of `slot`. True for exactly one caller, once nobody holds the object: that caller has claimed it, and ends
// it. From the moment that it has let go, another may end the object and the block be in a new use: so what counts is the
// block's word as it was before, which is never anybody's data.
inline bool let_go(Arena& arena, Object& o, Slot slot) {
    const BlockId block = o.head.block;
    const BlockWord seen = arena.look(block);
    clear_hold(o, slot);
    STEP("object.let_go");
    if (is_held(o) || !arena.claim(block, seen.with(BlockState::object, 0))) return false;
    STEP("object.claimed");
    return true;
}

// Makes a fresh block, owned by this process, an object held by it.
inline void become_object(Segment& seg, Arena& arena, Object& o, BlockId block, Kind kind) {
    o.head.block = block;
    o.pins.store(0);
    for (auto& word : o.holders) word.store(0);
    hold(o, seg.me);
    o.head.kind.store(static_cast<u32>(kind));
    STEP("object.made");
    arena.set(block, BlockState::object);
    STEP("object.shared");
}

}  // namespace allcores
