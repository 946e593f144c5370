// A channel that counts: each put and each take happens whole under the lock of its ledger, ring and numbers together. Waiting for
// room or for an item happens outside, at the channel's own places, by looks that need no lock.
#pragma once

#include "channel.hpp"

namespace allcores {

class CountedView {
public:
    CountedView(Segment& seg, Arena& arena, Channel& c)
        : seg_(seg), channel_(c), view_(seg, arena, c), ledger_(seg, c.ledger()) {}

    // Of its items `a` is the number of bytes, at least 1.
    bool may_put(const Message& m) { return (ledger_.fits(m.a) && view_.has_room()) || ledger_.is_left_dirty(); }
    bool may_take() { return view_.has_item(); }
    bool is_finished() const { return channel_.ledger().unfinished.load() == 0; }
    bool may_end_join() { return is_finished() || ledger_.is_left_dirty() || ledger_.lost() != 0; }

    // Afterwards, leave(). What somebody who died inside has left is in order then.
    bool try_enter() { return ledger_.try_enter() && mend(); }
    bool enter() { return ledger_.enter() && mend(); }

    Sent try_put(const Message& m) {
        if (!ledger_.fits(m.a)) return Sent::full;
        ledger_.begin_put();
        const Sent sent = view_.try_put(m);
        sent == Sent::ok ? ledger_.was_put(m.a) : ledger_.done();
        return sent;
    }
    bool try_take(Message& m) {
        ledger_.begin_take();
        const bool took = view_.try_take(m);
        took ? ledger_.was_taken(m.a) : ledger_.done();
        made_room_ = made_room_ || took;
        return took;
    }
    bool task_done() { return ledger_.task_done(); }
    u64 recover() { return ledger_.recover(); }

    // Who waits for room waits for more or less of it: all look.
    void leave() {
        const bool ends_join = mended_ || is_finished();
        ledger_.leave();
        STEP("ledger.left");
        if (mended_ || made_room_) notify_all(seg_, channel_.room);
        if (ends_join) notify_all(seg_, channel_.ledger().finished);
    }

    LedgerView& ledger() { return ledger_; }

private:
    // Nobody living is in the middle of anything, so a cell that is not free, nor a producer's that died in it, has an item.
    bool mend() {
        if (!ledger_.is_dirty()) return true;
        u64 items = 0, bytes = 0;
        view_.for_each_ring([&](Ring& ring) {
            const u64 tail = ring.tail.load() & ~kClosed;
            for (u64 i = 0; i < ring.capacity && !(ring.turn(tail) == 0 && i > tail); ++i) {
                const CellState s = CellWord{ring.cell(i).word.load()}.state();
                if (s != CellState::ready && s != CellState::committing && s != CellState::reading) continue;
                ++items;
                bytes += ring.cell(i).message.a;
            }
        });
        ledger_.count_again(items, bytes);
        mended_ = true;  // so all look: who looked before may have seen neither the death nor what it left
        return true;
    }

    const Segment& seg_;
    Channel& channel_;
    ChannelView view_;
    LedgerView ledger_;
    bool made_room_ = false;
    bool mended_ = false;
};

}  // namespace allcores
