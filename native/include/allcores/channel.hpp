// A channel: a chain of rings with the two places to wait at. With a bound it is one ring of that capacity. Without,
// a full ring is closed and a larger one follows, so a put never waits and what was put stays in shared memory, not in
// a helper thread of a process about to end. Drained rings stay until the channel ends: a slow process may still look
// at their cells, whose words never repeat; together they are smaller than the last one.
#pragma once

#include "ledger.hpp"
#include "ring.hpp"

namespace allcores {

inline constexpr u64 kFirstRing = 64;
inline constexpr u64 kRingGrowth = 4;
inline constexpr u64 kLargestRing = u64{1} << 28;

struct Channel {
    Object object;
    u64 bound;                          // 0: none
    std::atomic<u64> origin;            // offsets of rings: the first ever,
    std::atomic<u64> first;             // where consumers are,
    std::atomic<u64> last;              // where producers are
    u64 counts;                         // bytes of the ledger behind this; 0: none (counted.hpp)
    alignas(kCacheLine) Parking items;  // consumers wait here
    alignas(kCacheLine) Parking room;   // producers wait here

    Ledger& ledger() { return *reinterpret_cast<Ledger*>(this + 1); }
};

static_assert(sizeof(Channel) == 4 * kCacheLine);

enum class Sent : u8 { ok, full, no_memory };

// What a channel is to count.
struct Counting {
    u64 max_bytes = 0;      // that may wait; 0: no limit
    bool joinable = false;  // items not done yet
    u64 bytes() const {
        return joinable ? Ledger::bytes_for(kMaxParticipants) : max_bytes != 0 ? Ledger::bytes_for(0) : 0;
    }
};

class ChannelView {
public:
    ChannelView(Segment& seg, Arena& arena, Channel& c) : seg_(seg), arena_(arena), channel_(c) {}

    // A new channel, held by this process; 0: no memory. `more` bytes for what begins with a channel.
    static u64 create(Segment& seg, Arena& arena, u64 bound, Counting counting = {}, Kind kind = Kind::channel, u64 more = 0) {
        const BlockId block = arena.take(sizeof(Channel) + counting.bytes() + more);
        if (block == 0) return 0;
        Channel& c = *reinterpret_cast<Channel*>(arena.data(block));
        std::memset(static_cast<void*>(&c), 0, sizeof(Channel) + more);
        c.bound = bound;
        c.counts = counting.bytes();
        if (c.counts != 0) {
            if (!arena.untouched(block)) std::memset(static_cast<void*>(&c.ledger()), 0, c.counts);
            c.ledger().max_bytes = counting.max_bytes;
            c.ledger().slots = counting.joinable ? kMaxParticipants : 0;
        }
        ChannelView view(seg, arena, c);
        const u64 ring = view.make_ring(bound == 0 ? kFirstRing : bound, bound == 0);
        if (ring == 0) {
            arena.give_back(block);
            return 0;
        }
        STEP("channel.ring_made");
        c.origin.store(ring);
        c.first.store(ring);
        c.last.store(ring);
        become_object(seg, arena, c.object, block, kind);
        arena.set(view.ring(ring).head_of_block.block, BlockState::object);
        return seg.offset_of(&c);
    }

    Sent try_put(const Message& m) {
        for (;;) {
            const u64 at = channel_.last.load(std::memory_order_acquire);
            switch (view(at).put(m)) {
                case Put::ok:
                    notify_one(seg_, channel_.items);
                    return Sent::ok;
                case Put::full:
                    return Sent::full;
                case Put::closed: {
                    const u64 next = link(ring(at));
                    if (next == 0) return Sent::no_memory;
                    u64 expected = at;
                    channel_.last.compare_exchange_strong(expected, next);
                    STEP("channel.producers_moved");
                }
            }
        }
    }

    // `begins_task` false: only to look at it, which is no work on a task.
    bool try_take(Message& m, bool begins_task = true) {
        for (;;) {
            const u64 at = channel_.first.load(std::memory_order_acquire);
            RingView v = view(at);
            const Take took = v.take(m, begins_task);
            if (v.stepped_over_tomb()) notify_all(seg_, channel_.room);  // that made room, whatever else came of it
            switch (took) {
                case Take::ok:
                    // In a closed ring it may be this cell that a consumer waits to seal.
                    if (channel_.bound != 0) notify_one(seg_, channel_.room);
                    else if (ring(at).next.load(std::memory_order_acquire) != 0) notify_one(seg_, channel_.items);
                    return true;
                case Take::empty:
                    return false;
                case Take::drained:
                    if (!move_on(at)) return false;
            }
        }
    }

    // Whether try_take() would get something now; has_item() counts what is still being written.
    bool can_take() {
        for (;;) {
            const u64 at = channel_.first.load(std::memory_order_acquire);
            RingView v = view(at);
            const Take found = v.peek();
            if (v.stepped_over_tomb()) notify_all(seg_, channel_.room);
            if (found != Take::drained || !move_on(at)) return found == Take::ok;
        }
    }

    bool has_item() {
        for (u64 at = channel_.first.load(); at != 0; at = ring(at).next.load()) {
            RingView v = view(at);
            const bool some = v.has_item();
            if (v.stepped_over_tomb()) notify_all(seg_, channel_.room);
            if (some) return true;
        }
        return false;
    }
    // Whether every ring of the chain lies whole in a block of its own. For who is given a handle: afterwards it is trusted.
    bool is_sound() {
        if (channel_.counts > arena_.size(channel_.object.head.block) - sizeof(Channel)) return false;
        if (channel_.counts != 0 && channel_.counts != Counting{1, channel_.ledger().slots == kMaxParticipants}.bytes()) return false;
        u64 seen = 0;  // producers and consumers must be in the chain
        for (u64 at = channel_.origin.load(); at != 0; at = ring(at).next.load()) {
            if (at % alignof(Ring) != 0 || at < kBlocksAt || at > seg_.bytes - sizeof(Ring)) return false;
            const BlockId id = ring(at).head_of_block.block;
            if (!arena_.exists(id) || arena_.offset(id) != at) return false;
            const u64 cells = ring(at).capacity;
            if (cells == 0 || cells > (arena_.size(id) - sizeof(Ring)) / sizeof(Cell)) return false;
            seen += (at == channel_.first.load()) + (at == channel_.last.load());
            if (ring(at).next.load() == at) return false;
        }
        return seen == 2;
    }
    bool has_room() { return view(channel_.last.load()).has_room(); }
    u64 length() {
        u64 n = 0;
        for (u64 at = channel_.first.load(); at != 0; at = ring(at).next.load()) n += view(at).length();
        return n;
    }

    void free_blocks(const Message& m) { view(channel_.first.load()).free_blocks(m); }

    template <class F>
    void for_each_ring(F&& f) {
        for (u64 at = channel_.origin.load(); at != 0; at = ring(at).next.load()) f(ring(at));
    }

    void recover(Slot dead) {
        for (u64 at = channel_.origin.load(); at != 0; at = ring(at).next.load()) {
            // A ring is linked before its block leaves its maker's hands: finish that.
            arena_.set(ring(at).head_of_block.block, BlockState::object);
            view(at).recover(dead);
        }
        if (channel_.counts != 0) LedgerView(seg_, channel_.ledger()).settle(dead);
    }
    void disturb_all() {
        disturb(channel_.items, seg_);
        disturb(channel_.room, seg_);
        if (channel_.counts != 0) LedgerView(seg_, channel_.ledger()).disturb_all();
    }

    // Ends the channel, with all that is still in it. For its last holder.
    void destroy() {
        // Each block is ours before the chain forgets it: killed in between, recovery ends the rest and frees what was ours.
        while (const u64 at = channel_.origin.load()) {
            view(at).discard();
            STEP("channel.discarded");
            const BlockId block = ring(at).head_of_block.block;
            const u64 next = ring(at).next.load();
            arena_.set(block, BlockState::owned);
            STEP("channel.ring_owned");
            channel_.origin.store(next);
            STEP("channel.ring_forgotten");
            arena_.give_back(block);
        }
        arena_.give_back(channel_.object.head.block);
    }

private:
    Ring& ring(u64 offset) { return seg_.at<Ring>(offset); }
    RingView view(u64 offset) { return {seg_, arena_, ring(offset)}; }

    u64 make_ring(u64 capacity, bool grows) {
        const u64 bytes = Ring::bytes_for(capacity);
        if (bytes / sizeof(Cell) < capacity) return 0;
        const BlockId block = arena_.take_sparse(bytes);
        if (block == 0) return 0;
        Ring& r = *reinterpret_cast<Ring*>(arena_.data(block));
        std::memset(static_cast<void*>(&r), 0, sizeof(Ring));
        r.head_of_block.block = block;
        r.head_of_block.kind.store(static_cast<u32>(Kind::ring));
        r.capacity = capacity;
        r.grows = grows ? 1 : 0;
        if (!arena_.untouched(block)) {
            for (u64 i = 0; i < capacity; ++i) r.cell(i).word.store(0, std::memory_order_relaxed);
        }
        return seg_.offset_of(&r);
    }

    // Consumers go on from a drained ring to the next; false: there is none.
    bool move_on(u64 from) {
        const u64 next = ring(from).next.load(std::memory_order_acquire);
        if (next == 0) return false;
        channel_.first.compare_exchange_strong(from, next);
        STEP("channel.consumers_moved");
        return true;
    }

    // The ring after a closed one. Whoever needs it makes it; of several, one is linked.
    u64 link(Ring& closed) {
        if (const u64 next = closed.next.load(std::memory_order_acquire)) return next;
        const u64 made = make_ring(std::min(closed.capacity * kRingGrowth, kLargestRing), true);
        if (made == 0) return 0;
        STEP("channel.ring_made");
        u64 none = 0;
        if (closed.next.compare_exchange_strong(none, made)) {
            STEP("channel.ring_linked");
            arena_.set(ring(made).head_of_block.block, BlockState::object);
            STEP("channel.ring_shared");
            notify_all(seg_, channel_.items);
            return made;
        }
        arena_.give_back(ring(made).head_of_block.block);
        return none;
    }

    Segment& seg_;
    Arena& arena_;
    Channel& channel_;
};

}  // namespace allcores
