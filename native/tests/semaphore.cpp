// Semaphores count; the permits of the dead are free where each has a word.
#include "check.hpp"

using namespace check;

namespace {

Semaphore& semaphore(World& w, i64 value) {
    Semaphore& s = w.object<Semaphore>(Kind::semaphore);
    s.value.store(value);
    return s;
}
BoundedSemaphore& bounded(World& w, u64 permits) {
    const BlockId block = w.arena.take(BoundedSemaphore::bytes_for(permits));
    CHECK(block != 0);
    auto& s = *reinterpret_cast<BoundedSemaphore*>(w.arena.data(block));
    std::memset(static_cast<void*>(&s), 0, BoundedSemaphore::bytes_for(permits));
    s.permits = permits;
    become_object(w.seg, w.arena, s.object, block, Kind::bounded_semaphore);
    return s;
}
void acquire(World& w, Semaphore& s) {
    wait_in_time(w.seg, s.parking, [&] { return try_acquire(s); }, [&] { return s.value.load() > 0; });
}
void acquire(World& w, BoundedSemaphore& s) {
    BoundedSemaphoreView v(w.seg, s);
    wait_in_time(w.seg, s.parking, [&] { return v.try_acquire(); }, [&] { return v.value() > 0; });
}
bool give_back(World& w, Semaphore& s) { return release(w.seg, s, 1); }
bool give_back(World& w, BoundedSemaphore& s) { return BoundedSemaphoreView(w.seg, s).release(); }
i64 value(World&, Semaphore& s) { return s.value.load(); }
i64 value(World& w, BoundedSemaphore& s) { return BoundedSemaphoreView(w.seg, s).value(); }

// Room for `permits` of 4 threads: never more inside than that.
template <class S>
void crowd(World& w, S& s, u32 permits, u32 cpus) {
    w.seg.header().usable_cpus = cpus;
    std::atomic<u32> inside{0};
    in_threads(4, [&](u32) {
        for (u32 i = 0; i < rounds(5'000); ++i) {
            acquire(w, s);
            CHECK(inside.fetch_add(1) < permits);
            inside.fetch_sub(1);
            CHECK(give_back(w, s));
        }
    });
    CHECK_EQ(value(w, s), permits);
}

}  // namespace

TEST(smoke) {
    World w;
    Semaphore& s = semaphore(w, 2);
    CHECK(try_acquire(s));
    CHECK(try_acquire(s));
    CHECK(!try_acquire(s));
    CHECK(release(w.seg, s, 1));
    CHECK(try_acquire(s));
    BoundedSemaphore& b = bounded(w, 2);
    BoundedSemaphoreView v(w.seg, b);
    CHECK(v.try_acquire());
    CHECK(v.try_acquire());
    CHECK(!v.try_acquire());
    CHECK_EQ(v.value(), 0);
    CHECK(v.release());
    CHECK(v.try_acquire());
    CHECK(v.release());
    CHECK(v.release());
    CHECK(!v.release());
    CHECK_EQ(v.value(), 2);
}

TEST(capacity) {
    World w;
    Semaphore& s = semaphore(w, 1);
    CHECK(release(w.seg, s, kNever - 1));
    CHECK(!release(w.seg, s, 1));  // instead of a sum below zero
    for (const u64 permits : {u64{0}, u64{1}, u64{1'000}}) {
        BoundedSemaphore& b = bounded(w, permits);
        BoundedSemaphoreView v(w.seg, b);
        for (u64 i = 0; i < permits; ++i) CHECK(v.try_acquire());
        CHECK(!v.try_acquire());
        for (u64 i = 0; i < permits; ++i) CHECK(v.release());
        CHECK(!v.release());
    }
}

TEST(mpmc) {
    for (const u32 permits : {1U, 2U, 3U}) {
        for (const u32 cpus : {0U, 8U}) {
            World w;
            crowd(w, semaphore(w, permits), permits, cpus);
            crowd(w, bounded(w, permits), permits, cpus);
        }
    }
}

TEST(a_permit_of_ones_own_first) {
    World w;
    BoundedSemaphore& s = bounded(w, 2);
    const pid_t other = w.start([&] { CHECK(BoundedSemaphoreView(w.seg, s).try_acquire()); });
    CHECK(went_well(reap(other)));  // it has ended, and is not settled: its permit is there
    BoundedSemaphoreView v(w.seg, s);
    const auto of_other = [&] { return static_cast<Slot>(s.permit()[0].load()) != 0 && static_cast<Slot>(s.permit()[0].load()) != w.seg.me; };
    CHECK(of_other());
    s.hint.store(1);
    CHECK(v.try_acquire());
    CHECK(v.release());
    CHECK(of_other());
    CHECK(v.release());  // anybody's will do
    CHECK(!of_other());
    w.settle(other);
}

// One release for several: each of them gets through, and nobody else.
TEST(release_many) {
    World w;
    Semaphore& s = semaphore(w, 0);
    for (u32 round = 0; round < rounds(500); ++round) {
        std::atomic<u32> through{0};
        in_threads(4, [&](u32 me) {
            if (me == 0) {
                CHECK(release(w.seg, s, 3));
                return;
            }
            acquire(w, s);
            through.fetch_add(1);
        });
        CHECK_EQ(through.load(), 3);
        CHECK_EQ(s.value.load(), 0);
    }
}

// One of two that wait is killed; the permit, given after that, must reach the other.
TEST(survives_kill) {
    World w;
    for (u32 round = 0; round < 20; ++round) {
        Semaphore& s = semaphore(w, 0);
        const pid_t victim = w.start([&] { acquire(w, s); });
        while ((s.parking.word.load() & kSleepers) == 0) sched_yield();
        const pid_t other = w.start([&] { acquire(w, s); });
        kill(victim, SIGKILL);
        CHECK(was_killed(reap(victim)));
        if (round % 2 == 0) w.settle(victim);
        CHECK(release(w.seg, s, 1));
        if (round % 2 != 0) w.settle(victim);
        CHECK(went_well(reap(other)));
        w.settle(other);
        CHECK_EQ(s.value.load(), 0);
    }
}

// All that wait get the permits of the dead, settled or not.
TEST(permits_of_the_dead) {
    for (const bool settled : {false, true}) {
        World w;
        BoundedSemaphore& s = bounded(w, 3);
        for (u32 round = 0; round < 10; ++round) {
            const pid_t dead = start_and_die(w, [&] {
                for (u32 i = 0; i < 3; ++i) CHECK(BoundedSemaphoreView(w.seg, s).try_acquire());
                die();
            });
            if (settled) w.settle(dead);
            if (settled) CHECK_EQ(value(w, s), 3);
            for (u32 i = 0; i < 3; ++i) CHECK(BoundedSemaphoreView(w.seg, s).try_acquire());
            if (!settled) w.settle(dead);
            CHECK_EQ(value(w, s), 0);
            for (u32 i = 0; i < 3; ++i) CHECK(BoundedSemaphoreView(w.seg, s).release());
        }
    }
}

TEST(those_who_wait_get_the_permits_of_the_dead) {
    World w;
    BoundedSemaphore& s = bounded(w, 2);
    Gate& held = shared<Gate>();
    const pid_t owner = w.start([&] {
        for (u32 i = 0; i < 2; ++i) CHECK(BoundedSemaphoreView(w.seg, s).try_acquire());
        held.open();
        for (;;) pause();
    });
    held.pass();
    std::vector<pid_t> waiters;
    for (u32 i = 0; i < 2; ++i) waiters.push_back(w.start([&] { acquire(w, s); for (;;) pause(); }));
    while ((s.parking.word.load() & kSleepers) == 0) sched_yield();
    kill(owner, SIGKILL);
    CHECK(was_killed(reap(owner)));
    w.settle(owner);
    while (value(w, s) != 0) sched_yield();
    for (const pid_t pid : waiters) {
        kill(pid, SIGKILL);
        reap(pid);
        w.settle(pid);
    }
    CHECK_EQ(value(w, s), 2);
}
