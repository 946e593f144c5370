// Waiting: no wake-up is lost, none too many is sent, and a wait ends for its deadline and for signals.
// Over its size by the tests of waiting for several things, which share its helpers.
#include <pthread.h>

#include "check.hpp"

using namespace check;

namespace {

// The kernel says that this thread of ours sleeps.
bool sleeps(pid_t tid) {
    char path[64], line[512] = {};
    std::snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(read(fd, line, sizeof line - 1) > 0);
    close(fd);
    return std::strrchr(line, ')')[2] == 'S';
}

const auto no_more = [] { return false; };

// A number that is handed from one to the other and back; each waits at its own place.
struct Table {
    std::atomic<u32> ball{0};
    Parking places[2]{};

    void play(const Segment& seg, u32 me, u32 times) {
        for (u32 i = 0; i < times; ++i) {
            wait_in_time(seg, places[me], [&] { return ball.load() % 2 == me; }, no_more);
            ball.fetch_add(1);
            notify_one(seg, places[1 - me]);
        }
    }
};

}  // namespace

TEST(smoke) {
    World w;
    Parking p{};
    CHECK(wait_for(w.seg, p, kNever, [] { return true; }, no_more) == Wait::done);
    CHECK(wait_for(w.seg, p, 0, [] { return false; }, no_more) == Wait::timeout);
    CHECK_EQ(p.word.load(), 0);
    notify_one(w.seg, p);
    notify_all(w.seg, p);
    CHECK_EQ(p.word.load(), 0);  // nobody there: not even a write
}

TEST(ping_pong_spinning) {
    World w;
    w.seg.header().usable_cpus = 8;
    Table t;
    in_threads(2, [&](u32 me) { t.play(w.seg, me, rounds(50'000)); });
    CHECK_EQ(t.ball.load(), rounds(100'000));
}

TEST(ping_pong_sleeping) {
    World w;
    w.seg.header().usable_cpus = 0;
    Table t;
    in_threads(2, [&](u32 me) { t.play(w.seg, me, rounds(50'000)); });
    CHECK_EQ(t.places[0].spinner.load() + t.places[1].spinner.load(), 0);
}

TEST(ping_pong_between_processes) {
    World w;
    Table& t = shared<Table>();
    const pid_t other = w.start([&] { t.play(w.seg, 1, 10'000); });
    t.play(w.seg, 0, 10'000);
    CHECK(went_well(reap(other)));
    CHECK_EQ(t.ball.load(), 20'000);
}

// All at one place, for things that are handed out one by one.
TEST(mpmc) {
    for (const u32 cpus : {0U, 8U}) {
        World w;
        w.seg.header().usable_cpus = cpus;
        Parking p{};
        std::atomic<u32> there{0};
        const u32 each = rounds(5'000);
        in_threads(6, [&](u32 me) {
            for (u32 i = 0; i < each; ++i) {
                if (me < 3) {
                    there.fetch_add(1);
                    notify_one(w.seg, p);
                    continue;
                }
                const auto take_one = [&] {
                    u32 n = there.load();
                    while (n != 0 && !there.compare_exchange_weak(n, n - 1)) {
                    }
                    return n != 0;
                };
                wait_in_time(w.seg, p, take_one, [&] { return there.load() != 0; });
            }
        });
        CHECK_EQ(there.load(), 0);
        CHECK_EQ(p.spinner.load(), 0);
    }
}

TEST(wakes_one_of_several) {
    World w;
    w.seg.header().usable_cpus = 0;
    constexpr u32 kWaiters = 4;
    Parking p{};
    std::atomic<u32> there{0}, looks{0}, taken{0};
    std::atomic<pid_t> tids[kWaiters]{};
    const auto all_sleep = [&](u32 n) {
        u32 sleeping = 0;
        for (const auto& tid : tids) sleeping += tid.load() > 0 && sleeps(tid.load());
        return sleeping == n;
    };
    in_threads(kWaiters + 1, [&](u32 me) {
        if (me < kWaiters) {
            tids[me].store(gettid());
            const auto take_one = [&] {
                looks.fetch_add(1);
                u32 n = there.load();
                while (n != 0 && !there.compare_exchange_weak(n, n - 1)) {
                }
                return n != 0;
            };
            wait_in_time(w.seg, p, take_one, [&] { return there.load() != 0; });
            tids[me].store(-1);
            taken.fetch_add(1);
            return;
        }
        for (u32 left = kWaiters; left != 0; --left) {
            while ((p.word.load() & kSleepers) == 0 || !all_sleep(left)) sched_yield();
            const u32 before = looks.load();
            there.fetch_add(1);
            notify_one(w.seg, p);
            while (taken.load() != kWaiters - left + 1) sched_yield();
            CHECK_EQ(looks.load(), before + 1);  // the others were left in peace
        }
    });
    CHECK_EQ(taken.load(), kWaiters);
}

TEST(wakes_all) {
    World w;
    w.seg.header().usable_cpus = 0;
    Parking p{};
    std::atomic<u32> go{0};
    for (u32 round = 1; round <= rounds(2'000); ++round) {
        std::atomic<u32> waiting{0};
        in_threads(3, [&](u32 me) {
            if (me != 0) {
                waiting.fetch_add(1);
                wait_in_time(w.seg, p, [&] { return go.load() == round; }, no_more);
                return;
            }
            // Every other time they are about to sleep, or asleep; else about to come.
            while (round % 2 != 0 && (waiting.load() != 2 || (p.word.load() & kSleepers) == 0)) sched_yield();
            go.store(round);
            notify_all(w.seg, p);
        });
    }
}

TEST(timeout) {
    World w;
    for (const u32 cpus : {0U, 8U}) {
        w.seg.header().usable_cpus = cpus;
        Parking p{};
        const i64 start = now_ns(), deadline = start + 20'000'000;
        CHECK(wait_for(w.seg, p, deadline, [] { return false; }, no_more) == Wait::timeout);
        CHECK(now_ns() >= deadline);
        CHECK(now_ns() < start + kNet);
        CHECK(wait_for(w.seg, p, start, [] { return false; }, no_more) == Wait::timeout);
    }
}

TEST(interrupted_by_a_signal) {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    action.sa_flags = SA_RESTART;  // even so: the caller wants to look around
    CHECK(sigaction(SIGUSR1, &action, nullptr) == 0);
    World w;
    Parking p{};
    const i64 start = now_ns();
    std::atomic<bool> done{false};
    std::thread waiter([&] {
        CHECK(wait_for(w.seg, p, kNever, [] { return false; }, no_more) == Wait::interrupted);
        done.store(true);
    });
    while (!done.load()) {
        pthread_kill(waiter.native_handle(), SIGUSR1);  // again and again: it may not be asleep yet
        sched_yield();
    }
    waiter.join();
    CHECK(now_ns() - start < kNet / 10 * 9);
}

// A wake-up that reaches one who leaves at that moment goes on to the next.
TEST(leaving_passes_the_wake_up_on) {
    World w;
    w.seg.header().usable_cpus = 0;
    Parking p{};
    for (u32 round = 0; round < rounds(2'000); ++round) {
        std::atomic<u32> there{0};
        in_threads(3, [&](u32 me) {
            const auto take_one = [&] {
                u32 one = 1;
                return there.compare_exchange_strong(one, 0);
            };
            if (me == 0) {
                wait_in_time(w.seg, p, take_one, [&] { return there.load() != 0; });
            } else if (me == 1) {
                // Does not want it: only its wake-up could have been meant for the other.
                wait_for(w.seg, p, now_ns() + 20'000 + round * 10, [] { return false; }, [] { return true; });
            } else {
                for (u32 i = 0; i < round % 50; ++i) sched_yield();
                there.store(1);
                notify_one(w.seg, p);
            }
        });
    }
}

TEST(survives_kill_spinning) {
    World w;
    Parking& p = shared<Parking>();
    std::atomic<u32>& there = shared<std::atomic<u32>>();
    w.seg.header().usable_cpus = 0;
    std::thread waiter([&] { wait_in_time(w.seg, p, [&] { return there.load() != 0; }, no_more); });
    while ((p.word.load() & kSleepers) == 0) sched_yield();
    const pid_t pid = w.start([&] {
        p.spinner.store(w.seg.me);
        die();
    });
    CHECK(was_killed(reap(pid)));
    there.store(1);
    notify_one(w.seg, p);  // goes to the spinner that is dead
    disturb(p, w.seg);
    waiter.join();
    CHECK_EQ(p.spinner.load(), 0);
}

namespace {

// As allcores/several.py does it: true in time, and before the net.
template <class Ready>
void wait_for_both(const Segment& seg, Parking& a, Parking& b, Ready&& ready) {
    const i64 start = now_ns();
    for (;;) {
        const u32 seen = several_now(seg);
        for (Parking* p : {&a, &b}) p->word.fetch_or(kSeveral, std::memory_order_seq_cst);
        if (ready()) break;
        sleep_several(seg, seen, kNever);
    }
    CHECK(now_ns() - start < kNet);
}

}  // namespace

TEST(several_at_once) {
    for (const u32 cpus : {0U, 8U}) {
        World w;
        w.seg.header().usable_cpus = cpus;
        Parking places[2]{};
        std::atomic<u32> there[2]{};
        const u32 n = rounds(20'000);
        std::atomic<u32> seen{0};
        in_threads(4, [&](u32 me) {
            if (me < 2) {  // one changes, at two places, by one call and by the other
                for (u32 i = 0; me == 0 && i < n; ++i) {
                    there[i % 2].fetch_add(1);
                    i % 3 == 0 ? notify_all(w.seg, places[i % 2]) : notify_one(w.seg, places[i % 2]);
                    if (i % 4 == 0) {
                        while (seen.load() < i + 1) sched_yield();
                    }
                }
                return;
            }
            if (me == 2) {
                for (u32 got = 0; got < n;) {
                    wait_for_both(w.seg, places[0], places[1], [&] { return there[0].load() + there[1].load() > got; });
                    got = there[0].load() + there[1].load();
                    seen.store(got);
                }
                return;
            }
            // Beside one who waits for the first alone.
            u32 got = 0;
            while (got < (n + 1) / 2) {
                wait_in_time(w.seg, places[0], [&] { return there[0].load() > got; }, [] { return true; });
                got = there[0].load();
            }
        });
    }
}

// Killed between taking the announcement down and telling: recovery tells.
TEST(several_survives_kill) {
    World w;
    Parking& p = shared<Parking>();
    std::atomic<u32>& there = shared<std::atomic<u32>>();
    Parking other{};
    std::thread waiter([&] { wait_for_both(w.seg, p, other, [&] { return there.load() != 0; }); });
    while ((other.word.load() & kSeveral) == 0) sched_yield();
    const pid_t pid = start_and_die(w, [&] {
        there.store(1);
        p.word.fetch_and(~kSeveral);
        die();
    });
    w.settle(pid);
    waiter.join();
}
