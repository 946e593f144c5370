// Barriers: all or nobody, again and again; who dies breaks it for the others.
#include "check.hpp"

using namespace check;

namespace {

Barrier& barrier(World& w, u32 parties) {
    const BlockId block = w.arena.take(Barrier::bytes_for(parties));
    CHECK(block != 0);
    Barrier& b = *reinterpret_cast<Barrier*>(w.arena.data(block));
    std::memset(static_cast<void*>(&b), 0, Barrier::bytes_for(parties));
    b.parties = parties;
    become_object(w.seg, w.arena, b.object, block, Kind::barrier);
    return b;
}

enum class Met : u8 { yes, last, broken };

Met meet(World& w, Barrier& b) {
    BarrierView v(w.seg, b);
    auto arrived = BarrierView::Arrived::busy;
    u64 word = 0;
    u32 index = 0;
    wait_in_time(w.seg, b.parking, [&] { return (arrived = v.arrive(word, index)) != BarrierView::Arrived::busy; },
                 [] { return false; });
    if (arrived == BarrierView::Arrived::broken) return Met::broken;
    CHECK(index < b.parties);
    if (arrived == BarrierView::Arrived::last) return v.trip(word) ? Met::last : Met::broken;
    bool well = false;
    wait_in_time(w.seg, b.parking, [&] { return v.ended(word, well); }, [] { return false; });
    return well ? Met::yes : Met::broken;
}

}  // namespace

TEST(smoke) {
    World w;
    Barrier& b = barrier(w, 1);
    for (u32 i = 0; i < 70'000; ++i) CHECK(meet(w, b) == Met::last);  // the tags of phases wrap round
}

TEST(all_or_nobody) {
    for (const u32 cpus : {0U, 8U}) {
        World w;
        w.seg.header().usable_cpus = cpus;
        Barrier& b = barrier(w, 3);
        std::atomic<u32> arrived{0}, last{0};
        const u32 n = rounds(3'000);
        in_threads(3, [&](u32) {
            for (u32 i = 0; i < n; ++i) {
                arrived.fetch_add(1);
                const Met met = meet(w, b);
                CHECK(met != Met::broken);
                last += met == Met::last ? 1 : 0;
                CHECK(arrived.load() >= 3 * (i + 1));
            }
        });
        CHECK_EQ(last.load(), n);
    }
}

// More threads than parties: each phase takes as many as it needs, and a slow one still learns how its own ended.
TEST(a_crowd) {
    World w;
    Barrier& b = barrier(w, 2);
    std::atomic<u32> last{0}, met{0};
    in_threads(4, [&](u32) {
        for (Met how = Met::yes; how != Met::broken;) {
            how = meet(w, b);
            if (how == Met::last && last.fetch_add(1) + 1 == rounds(4'000)) BarrierView(w.seg, b).break_it();
            if (how == Met::yes) met.fetch_add(1);
        }
    });
    CHECK(last.load() >= rounds(4'000));
    CHECK_EQ(last.load(), met.load());
}

TEST(broken_and_mended) {
    World w;
    Barrier& b = barrier(w, 2);
    BarrierView v(w.seg, b);
    for (const bool reset : {false, true}) {
        std::jthread waiter([&] { CHECK(meet(w, b) == Met::broken); });
        while (v.waiting() != 1) sched_yield();
        reset ? v.reset() : v.break_it();
        waiter.join();
        CHECK_EQ(v.is_broken(), !reset);
        if (!reset) CHECK(meet(w, b) == Met::broken);
        v.reset();
        in_threads(2, [&](u32) { CHECK(meet(w, b) != Met::broken); });
    }
}

TEST(survives_kill) {
    World w;
    Barrier& b = barrier(w, 3);
    BarrierView v(w.seg, b);
    for (u32 round = 0; round < 10; ++round) {
        const pid_t victim = w.start([&] { meet(w, b); });
        const pid_t other = w.start([&] { CHECK(meet(w, b) == Met::broken); });
        while (v.waiting() != 2) sched_yield();
        kill(victim, SIGKILL);
        CHECK(was_killed(reap(victim)));
        w.settle(victim);
        CHECK(went_well(reap(other)));
        w.settle(other);
        CHECK(v.is_broken());
        CHECK_EQ(b.died_pid.load(), victim);
        v.reset();
        in_threads(3, [&](u32) { CHECK(meet(w, b) != Met::broken); });
    }
}

// Who ended well breaks nothing; who was killed does, even if it had not come yet: the others would wait for it.
TEST(ends_of_those_who_are_not_here) {
    World w;
    Barrier& b = barrier(w, 2);
    BarrierView v(w.seg, b);
    for (const bool killed : {false, true}) {
        const pid_t pid = w.start([&] {
            if (killed) die();
        });
        reap(pid);
        const Slot slot = slot_of(w.seg, static_cast<u32>(pid));
        recover(w.seg, w.arena, slot, [](const LastWords&) {}, killed);
        free_slot(w.seg, slot);
        CHECK_EQ(v.is_broken(), killed);
    }
}

TEST(killed_in_the_action) {
    World w;
    Barrier& b = barrier(w, 2);
    const pid_t waiter = w.start([&] { CHECK(meet(w, b) == Met::broken); });
    const pid_t victim = w.start([&] {
        BarrierView v(w.seg, b);
        while (v.waiting() != 1) sched_yield();
        u64 word = 0;
        u32 index = 0;
        CHECK(v.arrive(word, index) == BarrierView::Arrived::last);
        die();
    });
    CHECK(was_killed(reap(victim)));
    w.settle(victim);
    CHECK(went_well(reap(waiter)));
}
