// Deadlocks: exactly one of the circle gives up, and nobody else ever does.
#include "check.hpp"

using namespace check;

namespace {

enum class Got : u8 { lock, deadlock, owner_died };

Got acquire(World& w, Lock& l) {
    LockView v(w.seg, l.state);
    WaitRecord record(w.seg);
    Cycle cycle;
    Acquire got = Acquire::busy;
    bool deadlock = false;
    const Wait how = wait_for(
        w.seg, l.state.parking, now_ns() + 60'000'000'000,
        [&] {
            if ((got = v.try_acquire()) != Acquire::busy) return true;
            return record.announced() && (deadlock = record.closes(cycle));
        },
        [&] { return v.is_free(); }, [&] { record.announce(l.state, 0); });
    CHECK(how == Wait::done);
    if (deadlock) CHECK(cycle.size > 1 && cycle.member[0].thread == this_thread(w.seg));
    return deadlock ? Got::deadlock : got == Acquire::ok ? Got::lock : Got::owner_died;
}
void release(World& w, Lock& l) { CHECK(LockView(w.seg, l.state).release() == Release::ok); }

u32 records(World& w) {
    u32 n = 0;
    for (u32 i = 0; i < w.seg.header().waiters_used.load(); ++i)
        n += w.seg.at<Waiter>(kWaitersAt + i * sizeof(Waiter)).thread.load() != 0 ? 1 : 0;
    return n;
}

// Each takes a lock, meets the others, and takes the next one's.
void circle(u32 n, bool recursive) {
    World w;
    std::vector<Lock*> locks;
    for (u32 i = 0; i < n; ++i) {
        locks.push_back(&w.object<Lock>(Kind::lock));
        locks.back()->state.recursive = recursive;
    }
    StartLine line;
    for (u32 round = 0; round < rounds(300); ++round) {
        std::atomic<u32> gave_up{0};
        in_threads(n, [&](u32 me) {
            CHECK(acquire(w, *locks[me]) == Got::lock);
            line.wait(n);
            if (acquire(w, *locks[(me + 1) % n]) == Got::deadlock) {
                gave_up.fetch_add(1);
            } else {
                release(w, *locks[(me + 1) % n]);
            }
            release(w, *locks[me]);
        });
        CHECK_EQ(gave_up.load(), 1);
        CHECK_EQ(records(w), 0);
    }
}

}  // namespace

TEST(two) { circle(2, false); }
TEST(three) { circle(3, true); }
TEST(five) { circle(5, false); }

TEST(of_processes) {
    for (u32 round = 0; round < 20; ++round) {
        World w;
        Lock& a = w.object<Lock>(Kind::lock);
        Lock& b = w.object<Lock>(Kind::lock);
        StartLine& line = shared<StartLine>();
        std::atomic<u32>& gave_up = shared<std::atomic<u32>>();
        const auto take = [&](Lock& first, Lock& second) {
            return w.start([&] {
                CHECK(acquire(w, first) == Got::lock);
                line.wait(2);
                const Got got = acquire(w, second);
                if (got == Got::deadlock) gave_up.fetch_add(1);
                if (got == Got::lock) release(w, second);
                release(w, first);
            });
        };
        const pid_t one = take(a, b), two = take(b, a);
        CHECK(went_well(reap(one)));
        CHECK(went_well(reap(two)));
        CHECK_EQ(gave_up.load(), 1);
    }
}

// In one order there is no circle, however crowded.
TEST(no_false_alarm) {
    World w;
    w.seg.header().usable_cpus = 0;
    std::vector<Lock*> locks;
    for (u32 i = 0; i < 4; ++i) locks.push_back(&w.object<Lock>(Kind::lock));
    in_threads(5, [&](u32 me) {
        Random random(me);
        for (u32 i = 0; i < rounds(3'000); ++i) {
            const u64 a = random.below(3), b = a + 1 + random.below(3 - a);
            CHECK(acquire(w, *locks[a]) == Got::lock);
            CHECK(acquire(w, *locks[b]) == Got::lock);
            release(w, *locks[i % 2 == 0 ? a : b]);
            release(w, *locks[i % 2 == 0 ? b : a]);
        }
    });
    CHECK_EQ(records(w), 0);
}

// In any order, giving up where told: all get through, and nobody is ever inside with another.
TEST(giving_up_helps) {
    World w;
    w.seg.header().usable_cpus = 0;
    std::vector<Lock*> locks;
    for (u32 i = 0; i < 3; ++i) locks.push_back(&w.object<Lock>(Kind::lock));
    u64 count[3] = {};
    std::atomic<u64> done{0};
    in_threads(4, [&](u32 me) {
        Random random(me + 7);
        for (u32 i = 0; i < rounds(1'000);) {
            const u64 a = random.below(3), b = (a + 1 + random.below(2)) % 3;
            CHECK(acquire(w, *locks[a]) == Got::lock);
            if (acquire(w, *locks[b]) == Got::lock) {
                count[a] = count[a] + 1;
                count[b] = count[b] + 1;
                done.fetch_add(1);
                ++i;
                release(w, *locks[b]);
            }
            release(w, *locks[a]);
        }
    });
    CHECK_EQ(count[0] + count[1] + count[2], 2 * done.load());
}

// Once released by another than its owner, a lock is a signal: whoever waits for it may be helped from outside.
TEST(signals_are_no_circle) {
    World w;
    Lock& a = w.object<Lock>(Kind::lock);
    Lock& b = w.object<Lock>(Kind::lock);
    CHECK(acquire(w, a) == Got::lock);
    std::thread([&] { release(w, a); }).join();
    CHECK_EQ(a.state.is_signal.load(), 1);
    StartLine line;
    in_threads(3, [&](u32 me) {
        if (me < 2) CHECK(acquire(w, me == 0 ? a : b) == Got::lock);
        line.wait(3);
        if (me == 2) {
            while (records(w) != 2) sched_yield();
            release(w, a);
        } else {
            CHECK(acquire(w, me == 0 ? b : a) == Got::lock);
            release(w, me == 0 ? b : a);
            if (me == 1) release(w, b);
        }
    });
}

TEST(records_of_the_dead) {
    World w;
    Lock& l = w.object<Lock>(Kind::lock);
    CHECK(acquire(w, l) == Got::lock);
    const pid_t victim = w.start([&] { acquire(w, l); });
    while (records(w) != 1) sched_yield();
    kill(victim, SIGKILL);
    CHECK(was_killed(reap(victim)));
    w.settle(victim);
    CHECK_EQ(records(w), 0);
}

// More waiters than there are records: they wait as well, only without the search.
TEST(full_table) {
    World w;
    Lock& l = w.object<Lock>(Kind::lock);
    std::vector<std::unique_ptr<WaitRecord>> all;
    for (u32 i = 0; i < kMaxWaiters + 2; ++i) {
        all.push_back(std::make_unique<WaitRecord>(w.seg));
        all.back()->announce(l.state, 0);
        CHECK_EQ(all.back()->announced(), i < kMaxWaiters);
    }
    all.clear();
    CHECK_EQ(records(w), 0);
}

TEST(a_recursive_lock_of_a_thread_that_ended) {
    World w;
    Lock& l = w.object<Lock>(Kind::lock);
    for (const bool recursive : {false, true}) {
        l.state.recursive = recursive;
        std::thread([&] { CHECK(acquire(w, l) == Got::lock); }).join();
        LockView v(w.seg, l.state);
        CHECK(v.try_acquire() == Acquire::busy);
        CHECK_EQ(v.settle_if_thread_ended(), recursive);
        CHECK(v.try_acquire() == (recursive ? Acquire::owner_died : Acquire::busy));
        if (!recursive) release(w, l);
    }
}
