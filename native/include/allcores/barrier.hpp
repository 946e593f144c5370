// A barrier: all of a number of parties wait for each other. It breaks when one of them dies, so that the others do not wait for
// ever; reset() mends it.
//
//   phase word   = phase:32 | history:8 | state:8 | owner:16      arrival word = thread:32 | phase:16 | owner:16
//
//   arrive:  filling: an arrival word of an earlier phase -> mine, of this phase
//   trip:    whoever sees all arrived: filling -> tripping(me), runs the action, -> filling of phase + 1, history << 1 | 1
//   reset:   filling or broken -> filling of phase + 1, history << 1
//
// The history says how each of the last 8 phases ended: a waiter that wakes late still learns of its own.
#pragma once

#include "lock.hpp"

namespace allcores {

enum class BarrierState : u8 { filling, tripping, broken };

struct Barrier {
    Object object;
    Parking parking;
    u32 parties;
    std::atomic<u64> phase;
    std::atomic<u64> died_pid;  // of the one that broke it; 0: nobody died
    Name dead;
    std::atomic<u64>* arrival() { return reinterpret_cast<std::atomic<u64>*>(this + 1); }
    static u64 bytes_for(u64 parties) { return sizeof(Barrier) + parties * sizeof(u64); }
};

class BarrierView {
public:
    enum class Arrived : u8 { yes, last, busy, broken };

    BarrierView(const Segment& seg, Barrier& b) : seg_(seg), b_(b) {}

    static BarrierState state(u64 phase_word) { return static_cast<BarrierState>(phase_word >> 16 & 0xff); }
    static u32 phase(u64 phase_word) { return static_cast<u32>(phase_word >> 32); }
    bool is_broken() const { return state(b_.phase.load()) == BarrierState::broken; }

    // `busy`: the phase before has not ended. `last`: all are there; the caller runs the action, then calls trip(). `word` is
    // the phase it arrived in, and `index` which of the parties it is.
    Arrived arrive(u64& word, u32& index) {
        for (;;) {
            word = b_.phase.load();
            if (state(word) == BarrierState::broken) return Arrived::broken;
            if (state(word) == BarrierState::filling && take_place(word, index)) break;
            if (b_.phase.load() == word) return Arrived::busy;
        }
        // Should the phase be over by now, it ended with this one: all places were of it, or it was reset.
        if (arrived(word) != b_.parties) return Arrived::yes;
        u64 expected = word;
        const u64 tripping = with(word, BarrierState::tripping, seg_.me);
        return b_.phase.compare_exchange_strong(expected, tripping) ? Arrived::last : Arrived::yes;
    }

    // Whether the phase of `word` has ended; `well` says how.
    bool ended(u64 word, bool& well) const {
        const u64 now = b_.phase.load();
        const u32 on = phase(now) - phase(word);
        // So many phases without this party: others than its own parties pass here. Resets are rare: it ended well.
        well = on > 8 || (on != 0 && (now >> (24 + on - 1) & 1) != 0);
        return on != 0 || state(now) == BarrierState::broken;
    }

    // All go on. False: it was broken meanwhile.
    bool trip(u64 word) {
        u64 tripping = with(word, BarrierState::tripping, seg_.me);
        if (!b_.phase.compare_exchange_strong(tripping, next(word, true))) return false;
        notify_all(seg_, b_.parking);
        return true;
    }

    void break_it() {
        u64 w = b_.phase.load();
        while (state(w) != BarrierState::broken) {
            if (!b_.phase.compare_exchange_weak(w, with(w, BarrierState::broken, 0))) continue;
            notify_all(seg_, b_.parking);
            return;
        }
    }
    // Only if the phase of `word` is still filling.
    void break_phase(u64 word) {
        if (b_.phase.compare_exchange_strong(word, with(word, BarrierState::broken, 0))) notify_all(seg_, b_.parking);
    }
    // By the one that runs the action of the phase of `word`, if nobody has broken it yet.
    void break_tripping(u64 word) { break_phase(with(word, BarrierState::tripping, seg_.me)); }

    // A phase in which all have arrived is left alone: it ends by itself.
    void reset() {
        u64 w = b_.phase.load();
        do {
            if (state(w) == BarrierState::tripping) return;
        } while (!b_.phase.compare_exchange_weak(w, next(w, false)));
        b_.died_pid.store(0);
        // Places of the phase that ended, and of those before: after very many resets they would look like later ones.
        for (u32 i = 0; i < b_.parties; ++i) {
            u64 a = b_.arrival()[i].load();
            const auto after = static_cast<std::int16_t>(static_cast<u16>(a >> 16) - static_cast<u16>(phase(w)));
            if (a != 0 && after <= 0) b_.arrival()[i].compare_exchange_strong(a, 0);
        }
        notify_all(seg_, b_.parking);
    }

    u32 waiting() const {
        const u64 w = b_.phase.load();
        return state(w) == BarrierState::filling ? arrived(w) : 0;
    }

    // `killed`: it did not end by itself, so it may have been on its way here. Only of one that held the barrier.
    void recover(Slot dead, bool killed) {
        const u64 w = b_.phase.load();
        bool in_it = killed || (state(w) == BarrierState::tripping && static_cast<Slot>(w) == dead);
        for (u32 i = 0; i < b_.parties; ++i) {
            const u64 a = b_.arrival()[i].load();
            in_it = in_it || (static_cast<Slot>(a) == dead && of_phase(a, w) && state(w) == BarrierState::filling);
        }
        if (!in_it || state(w) == BarrierState::broken) return;
        b_.dead.set(seg_.participant(dead).name);
        b_.died_pid.store(seg_.participant(dead).pid.load());
        break_it();
    }

private:
    static u64 with(u64 w, BarrierState s, Slot owner) {
        return (w & ~u64{0xffffff}) | static_cast<u64>(s) << 16 | owner;
    }
    static u64 next(u64 w, bool well) {
        const u64 history = (w >> 24 << 1 | (well ? 1 : 0)) & 0xff;
        return static_cast<u64>(phase(w) + 1) << 32 | history << 24;
    }
    static bool of_phase(u64 arrival, u64 word) {
        return arrival != 0 && static_cast<u16>(arrival >> 16) == static_cast<u16>(phase(word));
    }

    u32 arrived(u64 word) const {
        u32 n = 0;
        for (u32 i = 0; i < b_.parties; ++i) n += of_phase(b_.arrival()[i].load(), word) ? 1 : 0;
        return n;
    }

    // A place of an earlier phase, never of a later one: who read the phase long ago takes nobody's place.
    bool take_place(u64 word, u32& index) {
        const u64 mine = (this_thread(seg_) & ~u64{0xffff0000}) | static_cast<u64>(static_cast<u16>(phase(word))) << 16;
        for (index = 0; index < b_.parties; ++index) {
            u64 a = b_.arrival()[index].load();
            const auto after = static_cast<std::int16_t>(static_cast<u16>(a >> 16) - static_cast<u16>(phase(word)));
            if ((a == 0 || after < 0) && b_.arrival()[index].compare_exchange_strong(a, mine)) return true;
        }
        return false;
    }

    const Segment& seg_;
    Barrier& b_;
};

}  // namespace allcores
