// Locks: one at a time, and a dead holder is news for everybody and a hang for nobody.
#include "check.hpp"

using namespace check;

namespace {

Acquire acquire(World& w, Lock& l, u64 flags = 0) {
    LockView v(w.seg, l.state);
    Acquire got = Acquire::busy;
    wait_in_time(w.seg, l.state.parking, [&] { return (got = v.try_acquire(flags)) != Acquire::busy; },
                 [&] { return v.is_free(); });
    return got;
}
Release release(World& w, Lock& l) { return LockView(w.seg, l.state).release(); }

// Dies with the lock.
pid_t holder(World& w, Lock& l, u64 flags = 0, u32 times = 1) {
    return start_and_die(w, [&] {
        for (u32 i = 0; i < times; ++i) CHECK(acquire(w, l, flags) == Acquire::ok);
        die();
    });
}

void count_under(World& w, Lock& l, u64& counter, u32 times) {
    for (u32 i = 0; i < times; ++i) {
        CHECK(acquire(w, l) == Acquire::ok);
        counter = counter + 1;
        CHECK(release(w, l) == Release::ok);
    }
}

}  // namespace

TEST(smoke) {
    World w;
    Lock& l = w.object<Lock>(Kind::lock);
    LockView v(w.seg, l.state);
    CHECK(v.is_free());
    CHECK(v.try_acquire() == Acquire::ok);
    CHECK(v.held_by_me());
    CHECK(!v.is_free());
    CHECK(v.try_acquire() == Acquire::busy);
    CHECK(v.release() == Release::ok);
    CHECK(v.release() == Release::not_held);
    CHECK(!v.mend());
}

TEST(mutual_exclusion) {
    for (const u32 cpus : {0U, 2U, 8U}) {
        World w;
        w.seg.header().usable_cpus = cpus;
        Lock& l = w.object<Lock>(Kind::lock);
        u64 counter = 0;
        in_threads(4, [&](u32) { count_under(w, l, counter, rounds(cpus == 2 ? 100'000 : 20'000)); });
        CHECK_EQ(counter, 4 * rounds(cpus == 2 ? 100'000 : 20'000));
    }
}

TEST(mutual_exclusion_of_processes) {
    World w;
    Lock& l = w.object<Lock>(Kind::lock);
    u64& counter = shared<u64>();
    std::vector<pid_t> others;
    for (u32 i = 0; i < 3; ++i) others.push_back(w.start([&] { count_under(w, l, counter, 10'000); }));
    count_under(w, l, counter, 10'000);
    for (const pid_t pid : others) CHECK(went_well(reap(pid)));
    CHECK_EQ(counter, 40'000);
}

TEST(recursive) {
    World w;
    Lock& l = w.object<Lock>(Kind::lock);
    l.state.recursive = 1;
    LockView v(w.seg, l.state);
    for (u32 round = 0; round < 3; ++round) {
        for (u32 i = 0; i < 5; ++i) CHECK(v.try_acquire(i % 2 == 0 ? 0 : kAtomicUpdate) == Acquire::ok);
        std::thread([&] {
            CHECK(v.try_acquire() == Acquire::busy);
            CHECK(!v.held_by_me());
            CHECK(v.release() == Release::not_owner);
        }).join();
        for (u32 i = 0; i < 5; ++i) {
            CHECK(v.held_by_me());
            CHECK(v.release() == Release::ok);
        }
        CHECK(v.is_free());
    }
    CHECK(v.release() == Release::not_owner);  // a recursive one is not even looked at further
    // Another thread's turn begins from one again.
    std::thread([&] {
        CHECK(v.try_acquire() == Acquire::ok);
        CHECK(v.release() == Release::ok);
        CHECK(v.is_free());
    }).join();
}

TEST(release_by_another_thread) {
    World w;
    Lock& l = w.object<Lock>(Kind::lock);
    CHECK(acquire(w, l) == Acquire::ok);
    std::thread waiter([&] { CHECK(acquire(w, l) == Acquire::ok); });
    while ((l.state.parking.word.load() & kSleepers) == 0) sched_yield();
    std::thread([&] { CHECK(release(w, l) == Release::ok); }).join();
    waiter.join();
    CHECK(!LockView(w.seg, l.state).held_by_me());
    CHECK(release(w, l) == Release::ok);
}

TEST(release_by_another_process) {
    World w;
    Lock& l = w.object<Lock>(Kind::lock);
    CHECK(acquire(w, l) == Acquire::ok);
    const pid_t other = w.start([&] { CHECK(release(w, l) == Release::ok); });
    CHECK(acquire(w, l) == Acquire::ok);
    CHECK(went_well(reap(other)));
}

TEST(waits_no_longer_than_told) {
    World w;
    Lock& l = w.object<Lock>(Kind::lock);
    LockView v(w.seg, l.state);
    CHECK(v.try_acquire() == Acquire::ok);
    Acquire got = Acquire::busy;
    CHECK(wait_for(w.seg, l.state.parking, now_ns() + 10'000'000, [&] { return (got = v.try_acquire()) != Acquire::busy; },
                   [&] { return v.is_free(); }) == Wait::timeout);
    CHECK(got == Acquire::busy);
    CHECK(v.held_by_me());
}

// Without anybody's recovery: the kernel's word is enough.
TEST(survives_kill) {
    for (const u32 times : {1U, 3U}) {
        World w;
        Lock& l = w.object<Lock>(Kind::lock);
        l.state.recursive = times > 1;
        const pid_t dead = holder(w, l, 0, times);
        LockView v(w.seg, l.state);
        for (u32 i = 0; i < 3; ++i) {
            CHECK(v.try_acquire() == Acquire::owner_died);
            CHECK(acquire(w, l) == Acquire::owner_died);
        }
        CHECK_EQ(LockView(w.seg, l.state).died_pid(), dead);
        if (times > 1) CHECK(v.release() == Release::not_owner);
        CHECK(v.mend());
        CHECK(!v.mend());
        CHECK(v.try_acquire() == Acquire::ok);
        CHECK(v.release() == Release::ok);
        CHECK(v.is_free());
    }
}

TEST(survives_kill_for_all_who_wait) {
    World w;
    Lock& l = w.object<Lock>(Kind::lock);
    Gate& held = shared<Gate>();
    std::vector<pid_t> waiters;
    const pid_t owner = w.start([&] {
        CHECK(acquire(w, l) == Acquire::ok);
        held.open();
        for (;;) pause();
    });
    held.pass();
    for (u32 i = 0; i < 3; ++i)
        waiters.push_back(w.start([&] { CHECK(acquire(w, l) == Acquire::owner_died); }));
    while ((l.state.parking.word.load() & kSleepers) == 0) sched_yield();
    kill(owner, SIGKILL);
    CHECK(was_killed(reap(owner)));
    w.settle(owner);
    for (const pid_t pid : waiters) CHECK(went_well(reap(pid)));
    CHECK(LockView(w.seg, l.state).try_acquire() == Acquire::owner_died);
    CHECK_EQ(LockView(w.seg, l.state).died_pid(), owner);
}

TEST(mend_lets_all_in) {
    World w;
    Lock& l = w.object<Lock>(Kind::lock);
    w.settle(holder(w, l));
    CHECK(LockView(w.seg, l.state).mend());
    u64 counter = 0;
    in_threads(3, [&](u32) { count_under(w, l, counter, rounds(1'000)); });
    CHECK_EQ(counter, 3 * rounds(1'000));
}

TEST(survives_kill_in_an_atomic_update) {
    for (const bool settled : {false, true}) {
        World w;
        Lock& l = w.object<Lock>(Kind::lock);
        l.state.recursive = 1;
        const pid_t dead = holder(w, l, kAtomicUpdate);
        if (settled) {
            w.settle(dead);
            CHECK(LockView(w.seg, l.state).is_free());
        }
        CHECK(acquire(w, l) == Acquire::ok);
        CHECK(release(w, l) == Release::ok);
        CHECK(LockView(w.seg, l.state).is_free());
    }
}

// A lock taken for longer poisons, even if an atomic update within it was the last thing.
TEST(survives_kill_in_an_atomic_update_of_a_held_lock) {
    World w;
    Lock& l = w.object<Lock>(Kind::lock);
    l.state.recursive = 1;
    w.settle(start_and_die(w, [&] {
        CHECK(acquire(w, l) == Acquire::ok);
        CHECK(acquire(w, l, kAtomicUpdate) == Acquire::ok);
        die();
    }));
    CHECK(acquire(w, l) == Acquire::owner_died);
}

TEST(survives_kill_of_the_holder_of_a_value) {
    World w;
    Data& d = w.object<Data>(Kind::data);
    w.settle(start_and_die(w, [&] {
        CHECK(LockView(w.seg, d.lock).try_acquire() == Acquire::ok);
        die();
    }));
    CHECK(LockView(w.seg, d.lock).try_acquire() == Acquire::owner_died);
}

// A plain lock acquired by a process that has ended, and released by another, was a signal: before or after the death is
// settled.
TEST(death_and_release_by_another) {
    for (const bool settled_first : {false, true}) {
        World w;
        Lock& l = w.object<Lock>(Kind::lock);
        const pid_t dead = holder(w, l);
        if (settled_first) w.settle(dead);
        CHECK(release(w, l) == Release::ok);
        CHECK(release(w, l) == Release::not_held);
        if (!settled_first) w.settle(dead);
        CHECK(acquire(w, l) == Acquire::ok);
    }
}
