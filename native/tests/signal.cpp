// Semaphores count, events tell everybody; neither depends on who dies while waiting.
#include "check.hpp"

using namespace check;

namespace {

Semaphore& semaphore(World& w, i64 value, i64 most = kNever) {
    Semaphore& s = w.object<Semaphore>(Kind::semaphore);
    s.value.store(value);
    s.most = most;
    return s;
}
void acquire(World& w, Semaphore& s) {
    wait_in_time(w.seg, s.parking, [&] { return try_acquire(s); }, [&] { return s.value.load() > 0; });
}
void wait_set(World& w, Event& e) {
    wait_in_time(w.seg, e.parking, [&] { return e.is_set.load() != 0; }, [] { return false; });
}

// `permits` for 4 threads: never more inside than that.
void crowd(u32 permits, u32 cpus) {
    World w;
    w.seg.header().usable_cpus = cpus;
    Semaphore& s = semaphore(w, permits, permits);
    std::atomic<u32> inside{0};
    in_threads(4, [&](u32) {
        for (u32 i = 0; i < rounds(5'000); ++i) {
            acquire(w, s);
            CHECK(inside.fetch_add(1) < permits);
            inside.fetch_sub(1);
            CHECK(release(s, 1));
        }
    });
    CHECK_EQ(s.value.load(), permits);
}

}  // namespace

TEST(smoke) {
    World w;
    Semaphore& s = semaphore(w, 2);
    CHECK(try_acquire(s));
    CHECK(try_acquire(s));
    CHECK(!try_acquire(s));
    CHECK(release(s, 1));
    CHECK(try_acquire(s));
    Event& e = w.object<Event>(Kind::event);
    CHECK(wait_for(w.seg, e.parking, now_ns() + 1'000'000, [&] { return e.is_set.load() != 0; }, [] { return false; }) ==
          Wait::timeout);
    set(e);
    wait_set(w, e);
}

TEST(capacity) {
    World w;
    Semaphore& bounded = semaphore(w, 1, 3);
    CHECK(!release(bounded, 3));
    CHECK_EQ(bounded.value.load(), 1);
    CHECK(release(bounded, 2));
    CHECK(!release(bounded, 1));
    CHECK_EQ(bounded.value.load(), 3);
    Semaphore& unbounded = semaphore(w, 1);
    CHECK(release(unbounded, kNever - 1));
    CHECK(!release(unbounded, 1));  // instead of a sum below zero
}

TEST(mpmc) {
    for (const u32 permits : {1U, 2U, 3U}) {
        for (const u32 cpus : {0U, 8U}) crowd(permits, cpus);
    }
}

// One release for several: each of them gets through, and nobody else.
TEST(release_many) {
    World w;
    Semaphore& s = semaphore(w, 0);
    for (u32 round = 0; round < rounds(500); ++round) {
        std::atomic<u32> through{0};
        in_threads(4, [&](u32 me) {
            if (me == 0) {
                CHECK(release(s, 3));
                return;
            }
            acquire(w, s);
            through.fetch_add(1);
        });
        CHECK_EQ(through.load(), 3);
        CHECK_EQ(s.value.load(), 0);
    }
}

TEST(event_tells_all) {
    for (const u32 cpus : {0U, 8U}) {
        World w;
        w.seg.header().usable_cpus = cpus;
        Event& e = w.object<Event>(Kind::event);
        for (u32 round = 0; round < rounds(1'000); ++round) {
            e.is_set.store(0);
            u64 told = 0;  // plain: what was written before set() is seen after the wait
            in_threads(4, [&](u32 me) {
                if (me == 0) {
                    told = round + 1;
                    set(e);
                    return;
                }
                wait_set(w, e);
                CHECK_EQ(told, round + 1);
            });
        }
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
        CHECK(release(s, 1));
        if (round % 2 != 0) w.settle(victim);
        CHECK(went_well(reap(other)));
        w.settle(other);
        CHECK_EQ(s.value.load(), 0);
    }
}

TEST(event_survives_kill) {
    World w;
    Event& e = w.object<Event>(Kind::event);
    const pid_t victim = w.start([&] { wait_set(w, e); });
    const pid_t other = w.start([&] { wait_set(w, e); });
    while ((e.parking.word.load() & kSleepers) == 0) sched_yield();
    kill(victim, SIGKILL);
    CHECK(was_killed(reap(victim)));
    set(e);
    w.settle(victim);
    CHECK(went_well(reap(other)));
}
