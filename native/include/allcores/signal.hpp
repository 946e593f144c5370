// Events and conditions: waiting until somebody says so.
#pragma once

#include "lock.hpp"

namespace allcores {

struct Event {
    Object object;
    std::atomic<u32> is_set;
    Parking parking;
};

static_assert(sizeof(Event) <= kLeastBlock);

inline void set(const Segment& seg, Event& e) {
    e.is_set.store(1);
    notify_all(seg, e.parking);
}

// A condition variable: who waits has a cell. Cells are taken, and notified, by whoever holds the condition's lock; a waiter
// gives its own back at any time.
//
//   cell word = ticket:32 | state:16 | owner:16        0: free
//
//   wait:    free -> waiting(me), lock released  ...  notified(me), lock acquired again, -> free
//   notify:  the waiting cells with the lowest tickets -> notified
//   death:   waiting(dead) -> free;  notified(dead) -> free, and another is notified in its place
enum class CellOfCondition : u8 { free, waiting, notified };

struct Condition {
    static constexpr u32 kMost = 1024;  // threads that wait at once
    struct Cell {
        std::atomic<u64> word;
        Parking parking;
        u32 pad;
    };
    Object object;
    std::atomic<u32> ticket;
    std::atomic<u32> used;   // cells at or above were never taken
    Cell cell[kMost];
};

class ConditionView {
public:
    ConditionView(const Segment& seg, Condition& c) : seg_(seg), c_(c) {}

    // Under the lock. Null: all cells are taken.
    Condition::Cell* enter() {
        const u32 used = c_.used.load();
        for (u32 i = 0; i <= used && i < Condition::kMost; ++i) {
            Condition::Cell& cell = c_.cell[i];
            if (i == used) {  // memory that was never used, or belonged to something else
                cell.word.store(0);
                cell.parking.word.store(0);
                cell.parking.spinner.store(0);
                cell.parking.waking.store(0);
                c_.used.store(used + 1);
            }
            u64 free = 0;
            if (cell.word.compare_exchange_strong(free, make(c_.ticket.fetch_add(1), CellOfCondition::waiting, seg_.me)))
                return &cell;
        }
        return nullptr;
    }

    static bool is_notified(const Condition::Cell& cell) { return state(cell.word.load()) == CellOfCondition::notified; }

    // Gives the cell back, unless it was notified: then it is kept until the lock is acquired again, so that the notification
    // of one that dies before goes to another.
    static bool give_up(Condition::Cell& cell) {
        u64 w = cell.word.load();
        return state(w) == CellOfCondition::waiting && cell.word.compare_exchange_strong(w, 0);
    }

    // Gives the cell back. True: it had been notified.
    static bool leave(Condition::Cell& cell) { return state(cell.word.exchange(0)) == CellOfCondition::notified; }

    // Under the lock: the `n` that have waited longest.
    void notify(u64 n) {
        while (n-- > 0 && notify_first()) {
        }
    }

    bool notify_first() {
        for (;;) {
            Condition::Cell* first = nullptr;
            u64 seen = 0;
            for (u32 i = 0; i < c_.used.load(); ++i) {
                const u64 w = c_.cell[i].word.load();
                if (state(w) != CellOfCondition::waiting || seg_.is_dead(static_cast<Slot>(w))) continue;
                if (first != nullptr && static_cast<std::int32_t>((w >> 32) - (seen >> 32)) > 0) continue;
                first = &c_.cell[i];
                seen = w;
            }
            if (first == nullptr) return false;
            // Not if it is just leaving: then the next one.
            if (!first->word.compare_exchange_strong(seen, with(seen, CellOfCondition::notified))) continue;
            notify_all(seg_, first->parking);
            return true;
        }
    }

    u64 waiting() const {
        u64 n = 0;
        for (u32 i = 0; i < c_.used.load(); ++i) n += state(c_.cell[i].word.load()) == CellOfCondition::waiting ? 1 : 0;
        return n;
    }

    // Another is notified before the cell of the dead is free: should the one who recovers die between, two are, which is allowed.
    void recover(Slot dead) {
        for (u32 i = 0; i < c_.used.load(); ++i) {
            u64 w = c_.cell[i].word.load();
            if (w == 0 || static_cast<Slot>(w) != dead) continue;
            if (state(w) == CellOfCondition::notified) notify_first();
            c_.cell[i].word.compare_exchange_strong(w, 0);
        }
    }

    void disturb_all() {
        for (u32 i = 0; i < c_.used.load(); ++i) disturb(c_.cell[i].parking, seg_);
    }

private:
    static u64 make(u32 ticket, CellOfCondition s, Slot owner) {
        return static_cast<u64>(ticket) << 32 | static_cast<u64>(s) << 16 | owner;
    }
    static u64 with(u64 w, CellOfCondition s) { return (w & ~u64{0xffff0000}) | static_cast<u64>(s) << 16; }
    static CellOfCondition state(u64 w) { return static_cast<CellOfCondition>(w >> 16 & 0xff); }

    const Segment& seg_;
    Condition& c_;
};

}  // namespace allcores
