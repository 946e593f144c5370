// The ring: bounded, many producers, many consumers, and any of them may be killed at any instruction.
//
//   cell word = turn:32 | state:4 | flags:12 | owner:16       position p lives in cell p % capacity, at turn p / capacity
//
//   put:  FREE -> WRITING(me) -> copy in -> COMMITTING -> hand blocks over -> READY
//   get:  READY -> READING(me) -> copy out, accept blocks -> FREE of the next turn
//
// The cell is the claim, and the claim names its owner: there is no instruction at which something is taken by nobody
// known. `tail` and `head` are hints that anyone helps on. Producers never read `head`, consumers never write `tail`.
// What a death leaves is settled by recover(): WRITING becomes a TOMB that consumers step over, COMMITTING is finished,
// READING is READY again in its old place. The steps have the names they have in tests/model/ring.py.
#pragma once

#include "cell.hpp"
#include "condemn.hpp"

namespace allcores {

enum class Put : u8 { ok, full, closed };
enum class Take : u8 { ok, empty, drained };

class RingView {
public:
    RingView(Segment& seg, Arena& arena, Ring& ring) : seg_(seg), arena_(arena), ring_(ring) {}

    Put put(const Message& m) {
        for (;;) {
            const u64 p = ring_.tail.load(std::memory_order_acquire);
            if ((p & kClosed) != 0) return Put::closed;
            Cell& cell = ring_.cell(p);
            const u32 turn = ring_.turn(p);
            const CellWord w{cell.word.load(std::memory_order_seq_cst)};
            if (w.turns_after(turn) > 0 || (w.turn() == turn && w.state() != CellState::free)) {
                help_tail(p);
            } else if (w.turn() == turn) {
                u64 expected = w.raw;
                // claim
                if (!cell.word.compare_exchange_strong(expected, CellWord::make(turn, CellState::writing, seg_.me).raw))
                    continue;
                STEP("put.claimed");
                help_tail(p);
                copy_message(cell.message, m);
                STEP("put.written");
                // commit: from here on the message arrives, whatever happens to us.
                cell.word.store(CellWord::make(turn, CellState::committing, seg_.me).raw, std::memory_order_release);
                STEP("put.committing");
                finish_commit(cell, seg_.me);
                STEP("put.handed_over");
                // publish. SYNC POINT change-then-look
                cell.word.store(CellWord::make(turn, CellState::ready).raw, std::memory_order_seq_cst);
                STEP("put.published");
                return Put::ok;
            } else if (ring_.tail.load(std::memory_order_acquire) == p) {
                if (ring_.grows == 0) return Put::full;
                u64 expected = p;  // close: producers go on in the next ring
                if (!ring_.tail.compare_exchange_strong(expected, p | kClosed)) continue;
                STEP("ring.closed");
                return Put::closed;
            }
        }
    }

    // `begins_task` false: only to throw it away, which is no work on a task.
    Take take(Message& m, bool begins_task = true) {
        for (;;) {
            const u64 h = ring_.head.load(std::memory_order_acquire);
            const u64 p = h & kPositionMask;
            Cell& cell = ring_.cell(p);
            const u32 turn = ring_.turn(p);
            // SYNC POINT payload-visible
            const CellWord w{cell.word.load(std::memory_order_seq_cst)};
            const bool now = w.turn() == turn;
            if (now && w.state() == CellState::ready) {
                u64 expected = w.raw;
                // take
                if (!cell.word.compare_exchange_strong(expected, CellWord::make(turn, CellState::reading, seg_.me).raw))
                    continue;
                STEP("take.claimed");
                help_head(h);
                copy_out(cell, m, begins_task);
                STEP("take.accepted");
                // free. SYNC POINT change-then-look
                cell.word.store(CellWord::make(turn + 1, CellState::free).raw, std::memory_order_seq_cst);
                STEP("take.freed");
                return Take::ok;
            }
            if (now && w.state() == CellState::tomb) {
                step_over(cell, w, h);
            } else if (w.turns_after(turn) > 0 || (now && w.state() == CellState::reading)) {
                help_head(h);
            } else if (ring_.head.load(std::memory_order_acquire) == h) {
                return nothing_at(p);
            }
        }
    }

    // What take() would come to now.
    Take peek() {
        for (;;) {
            const u64 h = ring_.head.load(std::memory_order_acquire);
            const u64 p = h & kPositionMask;
            Cell& cell = ring_.cell(p);
            const CellWord w{cell.word.load(std::memory_order_seq_cst)};
            const bool now = w.turn() == ring_.turn(p);
            if (now && w.state() == CellState::ready) return Take::ok;
            if (now && w.state() == CellState::tomb) step_over(cell, w, h);
            else if (w.turns_after(ring_.turn(p)) > 0 || (now && w.state() == CellState::reading)) help_head(h);
            else if (ring_.head.load(std::memory_order_acquire) == h) return nothing_at(p);
        }
    }

    // Whether take() of this view freed the cell of a producer that died.
    bool stepped_over_tomb() const { return stepped_over_tomb_; }

    // Whether there may be something to take. Steps over tombs: they are nothing.
    bool has_item() {
        for (;;) {
            const u64 h = ring_.head.load(std::memory_order_acquire);
            const u64 p = h & kPositionMask;
            Cell& cell = ring_.cell(p);
            const CellWord w{cell.word.load(std::memory_order_seq_cst)};
            if (w.turns_after(ring_.turn(p)) > 0) {
                help_head(h);  // it lags, for ever if who freed the cell has died
            } else if (w.turn() == ring_.turn(p) && w.state() == CellState::tomb) {
                step_over(cell, w, h);
            } else {
                return w.turn() == ring_.turn(p) && w.state() != CellState::free && w.state() != CellState::sealed;
            }
        }
    }
    bool has_room() const {
        const u64 p = ring_.tail.load(std::memory_order_acquire);
        return (p & kClosed) != 0 || ring_.grows != 0 ||
               CellWord{ring_.cell(p).word.load(std::memory_order_seq_cst)}.turns_after(ring_.turn(p)) >= 0;
    }
    u64 length() const {
        const u64 head = ring_.head.load(std::memory_order_acquire) & kPositionMask;
        const u64 tail = ring_.tail.load(std::memory_order_acquire) & ~kClosed;
        return tail > head ? tail - head : 0;
    }

    // Settles what the dead process left here. Idempotent, one caller at a time. The head is lowered to the lowest READY
    // cell, whoever made it so: an earlier recovery may have died between its two steps. And always with a new version: a
    // consumer that saw READING at the very head may be about to help it on, past the item that was put back.
    void recover(Slot dead) {
        u64 lowest = kPositionMask;
        for (u64 i = 0; i < ring_.capacity; ++i) {
            Cell& cell = ring_.cell(i);
            const CellWord w{cell.word.load(std::memory_order_acquire)};
            if (w.raw == 0 && ring_.turn(ring_.tail.load() & ~kClosed) == 0 && i > (ring_.tail.load() & ~kClosed)) break;
            if (w.owner() == dead && w.state() == CellState::writing) {
                cell.word.store(CellWord::make(w.turn(), CellState::tomb).raw);
                STEP("recover.tomb_made");
            } else if (w.owner() == dead && w.state() == CellState::committing) {
                finish_commit(cell, dead);
                STEP("recover.commit_finished");
                cell.word.store(CellWord::make(w.turn(), CellState::ready).raw);
            } else if (w.owner() == dead && w.state() == CellState::reading && was_condemned_for(cell, dead)) {
                // Nobody is to have it again: as if it had been taken in time. Its blocks are the dead one's own by then.
                cell.word.store(CellWord::make(w.turn() + 1, CellState::free).raw);
            } else if (w.owner() == dead && w.state() == CellState::reading) {
                put_back(cell, dead);
                STEP("recover.put_back");
                cell.word.store(CellWord::make(w.turn(), CellState::ready).raw);
            }
            const CellWord now{cell.word.load(std::memory_order_acquire)};
            if (now.state() == CellState::ready) lowest = std::min(lowest, position_of(now, i));
        }
        STEP("recover.cells_done");
        if (lowest != kPositionMask) lower_head(lowest);
        STEP("recover.head_lowered");
        has_item();  // a tomb at the head may be all the room there is: no consumer need come first
    }

    // Gives back the blocks of everything still in the ring. Only for a ring that nobody uses any more.
    void discard() {
        Message m;
        while (take(m, false) == Take::ok) free_blocks(m);
    }
    void free_blocks(const Message& m) { give_back_blocks(seg_, arena_, m, seg_.me); }

private:
    // Where in the stream a cell's word belongs: at its turn, as near to the head as that turn can be.
    u64 position_of(CellWord w, u64 index) const {
        const u64 turn = (ring_.head.load(std::memory_order_acquire) & kPositionMask) / ring_.capacity;
        return (turn + static_cast<u64>(w.turns_after(static_cast<u32>(turn)))) * ring_.capacity + index;
    }

    void help_tail(u64 p) { ring_.tail.compare_exchange_strong(p, p + 1); }
    void help_head(u64 h) { ring_.head.compare_exchange_strong(h, h + 1); }

    void step_over(Cell& cell, CellWord w, u64 h) {
        cell.word.compare_exchange_strong(w.raw, CellWord::make(w.turn() + 1, CellState::free).raw);
        STEP("tomb.freed");
        help_head(h);
        STEP("tomb.stepped_over");
        stepped_over_tomb_ = true;
    }

    void finish_commit(Cell& cell, Slot sender) {
        hand_over_blocks(arena_, cell.message, sender);
        if ((cell.message.flags & kAnswersTask) == 0) return;
        u64 answered = cell.message.a;
        STEP("answer.committed");
        const bool cleared = seg_.participant(sender).task.compare_exchange_strong(answered, 0);
        STEP("answer.record_cleared");
        if (!cleared && sender == seg_.me && answered == (cell.message.a | kCondemned)) await_death();
    }

    void copy_out(Cell& cell, Message& m, bool begins_task) {
        copy_message(m, cell.message);
        STEP("take.copied");
        accept_blocks(arena_, m);
        if (begins_task && (m.flags & kIsTask) != 0) {
            seg_.participant(seg_.me).item.store(0, std::memory_order_relaxed);
            seg_.participant(seg_.me).task.store(m.a, std::memory_order_release);
            STEP("task.recorded");
        }
    }

    // The dead never saw it: it stays a message in the ring, and is no task that died.
    void put_back(Cell& cell, Slot dead) {
        hand_over_blocks(arena_, cell.message, dead);
        auto& task = seg_.participant(dead).task;
        if ((cell.message.flags & kIsTask) != 0 && task.load() == cell.message.a) task.store(0);
    }

    bool was_condemned_for(const Cell& cell, Slot dead) const {
        return (cell.message.flags & kIsTask) != 0 && seg_.participant(dead).task.load() == (cell.message.a | kCondemned);
    }

    void lower_head(u64 p) {
        u64 h = ring_.head.load();
        u64 lowered;
        do {
            lowered = ((h >> kPositionBits) + 1) << kPositionBits | std::min(h & kPositionMask, p);
        } while (!ring_.head.compare_exchange_strong(h, lowered));
    }

    // At the head there is nothing to take. In a closed ring: is it drained for ever? Only the closing position can
    // still be claimed, by a producer that read the tail before; sealing its cell ends that. And no reader may still hold an
    // item, which its death would put back here. These states are final, so looking at the cells one by one is enough.
    Take nothing_at(u64 p) {
        // Until the next ring is there, it makes no difference; and the tail's line stays with the producers.
        if (ring_.next.load(std::memory_order_acquire) == 0) return Take::empty;
        const u64 tail = ring_.tail.load(std::memory_order_acquire);
        const u64 closed = tail & ~kClosed;
        if ((tail & kClosed) == 0 || p < closed) return Take::empty;
        const u32 turn = ring_.turn(closed);
        u64 expected = CellWord::make(turn, CellState::free).raw;
        // seal
        ring_.cell(closed).word.compare_exchange_strong(expected, CellWord::make(turn, CellState::sealed).raw);
        STEP("ring.sealed");
        for (u64 i = 0; i < ring_.capacity; ++i) {
            const CellWord w{ring_.cell(i).word.load(std::memory_order_acquire)};
            const bool over = w.state() == CellState::free && position_of(w, i) > closed;
            if (!over && w.state() != CellState::sealed) return Take::empty;
        }
        return Take::drained;
    }

    Segment& seg_;
    Arena& arena_;
    Ring& ring_;
    bool stepped_over_tomb_ = false;
};

}  // namespace allcores
