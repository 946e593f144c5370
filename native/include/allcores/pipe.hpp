// One direction of a pipe: a channel without a bound that knows who can receive from it and who can send. A side whose last
// holder has let go, killed ones included, is gone for ever: then what was sent is still received, and after it comes the end.
//
// A process has a bit in each side that it holds, and a handle on its way in a message pins its side, as of an object: so a
// side moves from process to process and is never gone meanwhile. Whoever holds a side also holds the object, and lets go of
// the object last: what is looked at and told here is always there.
#pragma once

#include "channel.hpp"

namespace allcores {

struct Side {
    std::atomic<u64> pins;
    std::atomic<u64> holders[kSlotWords];
};

struct Pipe {
    Channel channel;
    Side receivers;
    Side senders;
};

// The two lowest bits of a handle.
inline constexpr u64 kReceives = 1;
inline constexpr u64 kSends = 2;

enum class Receive : u8 { ok, empty, ended };

class PipeView {
public:
    PipeView(Segment& seg, Arena& arena, Pipe& p) : seg_(seg), pipe_(p), channel_(seg, arena, p.channel) {}

    static u64 create(Segment& seg, Arena& arena) {
        return ChannelView::create(seg, arena, 0, {}, Kind::pipe, sizeof(Pipe) - sizeof(Channel));
    }

    Side& side(u64 bit) { return bit == kReceives ? pipe_.receivers : pipe_.senders; }
    ChannelView& channel() { return channel_; }

    // Whether nobody can send, or receive, any more: a process that was killed counts as little as one that let go.
    bool is_gone(u64 bit) {
        const Side& s = side(bit);
        for (;;) {
            const u64 before = s.pins.load();
            if (static_cast<u32>(before) != 0) return false;
            for (u32 i = 0; i < kSlotWords; ++i) {
                for (u64 some = s.holders[i].load(); some != 0; some &= some - 1) {
                    if (!seg_.is_dead(static_cast<Slot>(i * 64 + static_cast<u32>(std::countr_zero(some)) + 1))) return false;
                }
            }
            if (s.pins.load() == before) return true;  // as in is_held()
        }
    }

    Receive try_receive(Message& m) {
        if (take(m)) return Receive::ok;
        if (!is_gone(kSends)) return Receive::empty;
        // What was sent before the end: it is there by now, or a death that is being settled makes it so.
        if (take(m)) return Receive::ok;
        return is_quiet() ? Receive::ended : Receive::empty;
    }

    // Whether try_receive() would have an answer now.
    bool can_receive() {
        return channel_.can_take() || (is_gone(kSends) && (channel_.can_take() || is_quiet()));
    }

    // Lets go of a side. The object is still held.
    void let_go(u64 bit, Slot slot) {
        clear_hold(side(bit), slot);
        STEP("pipe.side_let_go");
        after_one_less(bit);
    }

    void unpin(u64 bit) {
        allcores::unpin(side(bit));
        STEP("pipe.side_unpinned");
        after_one_less(bit);
    }

    // Before the hold of the object is cleared; everybody is disturbed afterwards.
    void recover_sides(Slot dead) {
        for (const u64 bit : {kReceives, kSends}) {
            clear_hold(side(bit), dead);
            STEP("recover.side_cleared");
            after_one_less(bit);
        }
    }

private:
    bool take(Message& m) {
        if (!channel_.try_take(m)) return false;
        notify_all(seg_, pipe_.channel.room);  // for who shows a descriptor: it may have to be taken back
        // The end comes when no reader can put an item back by its death; others may wait for that.
        if (!is_held(pipe_.senders)) notify_all(seg_, pipe_.channel.items);
        return true;
    }

    void after_one_less(u64 bit) {
        if (is_held(side(bit))) return;
        // SYNC POINT change-then-look
        notify_all(seg_, pipe_.channel.items);
        if (bit != kReceives) return;
        for (Message m; channel_.try_take(m, false);) channel_.free_blocks(m);  // nobody else ever will
    }

    // No item is on its way in or out: of one that is, a death may still make one to be received.
    bool is_quiet() {
        for (u64 at = pipe_.channel.first.load(); at != 0;) {
            Ring& ring = seg_.at<Ring>(at);
            for (u64 i = 0; i < ring.capacity; ++i) {
                const CellState s = CellWord{ring.cell(i).word.load(std::memory_order_seq_cst)}.state();
                if (s != CellState::free && s != CellState::sealed && s != CellState::tomb) return false;
            }
            at = ring.next.load(std::memory_order_acquire);
        }
        return true;
    }

    Segment& seg_;
    Pipe& pipe_;
    ChannelView channel_;
};

// Handles: of a side, or of an object as such.

inline bool is_pipe(const Segment& seg, u64 offset) {
    return seg.at<ObjectHead>(offset).kind.load() == static_cast<u32>(Kind::pipe);
}

inline void hold_handle(Segment& seg, Arena& arena, u64 handle, Slot slot) {
    const u64 offset = offset_of(handle);
    if (side_of(handle) == 0) return hold(seg.at<Object>(offset), slot);
    hold(PipeView(seg, arena, seg.at<Pipe>(offset)).side(side_of(handle)), slot);
}

inline void pin_handle(Segment& seg, Arena& arena, u64 handle) {
    const u64 offset = offset_of(handle);
    pin(seg.at<Object>(offset));
    if (side_of(handle) != 0) pin(PipeView(seg, arena, seg.at<Pipe>(offset)).side(side_of(handle)));
}

inline void unpin_side_of(Segment& seg, Arena& arena, u64 handle) {
    if (is_pipe(seg, offset_of(handle))) PipeView(seg, arena, seg.at<Pipe>(offset_of(handle))).unpin(side_of(handle));
}

inline const bool knows_sides = (unpin_side = &unpin_side_of, true);

inline void unpin_handle(Segment& seg, Arena& arena, u64 handle) {
    if (side_of(handle) != 0) unpin_side_of(seg, arena, handle);
    unpin(seg.at<Object>(offset_of(handle)));
}

}  // namespace allcores
