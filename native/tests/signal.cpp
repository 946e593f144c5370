// Events tell everybody, conditions those who have waited longest; neither depends on who dies while waiting.
#include "check.hpp"

using namespace check;

namespace {

void wait_set(World& w, Event& e) {
    wait_in_time(w.seg, e.parking, [&] { return e.is_set.load() != 0; }, [] { return false; });
}

// A condition with its lock, as the bindings use the two.
struct Meeting {
    World& w;
    Condition& c = w.object<Condition>(Kind::condition);
    Lock& l = w.object<Lock>(Kind::lock);
    ConditionView view{w.seg, c};

    explicit Meeting(World& world) : w(world) {}

    void lock() {
        LockView v(w.seg, l.state);
        wait_in_time(w.seg, l.state.parking, [&] { return v.try_acquire() == Acquire::ok; }, [&] { return v.is_free(); });
    }
    void unlock() { CHECK(LockView(w.seg, l.state).release() == Release::ok); }

    // Under the lock. False: not notified before the deadline.
    bool wait(i64 deadline = kNever) {
        Condition::Cell* cell = view.enter();
        CHECK(cell != nullptr);
        unlock();
        const auto told = [&] { return ConditionView::is_notified(*cell); };
        if (deadline == kNever) wait_in_time(w.seg, cell->parking, told, [] { return false; });
        else wait_for(w.seg, cell->parking, deadline, told, [] { return false; });
        const bool notified = ConditionView::leave(*cell);
        lock();
        return notified;
    }
    void until_waiting(u64 n) {
        while (view.waiting() != n) sched_yield();
    }
};

}  // namespace

TEST(smoke) {
    World w;
    Event& e = w.object<Event>(Kind::event);
    CHECK(wait_for(w.seg, e.parking, now_ns() + 1'000'000, [&] { return e.is_set.load() != 0; }, [] { return false; }) ==
          Wait::timeout);
    set(w.seg, e);
    wait_set(w, e);
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
                    set(w.seg, e);
                    return;
                }
                wait_set(w, e);
                CHECK_EQ(told, round + 1);
            });
        }
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
    set(w.seg, e);
    w.settle(victim);
    CHECK(went_well(reap(other)));
}

TEST(condition_first_come_first_served) {
    World w;
    Meeting m(w);
    std::vector<u32> woken;  // under the lock
    std::vector<std::jthread> threads;
    for (u32 i = 0; i < 5; ++i) {
        threads.emplace_back([&, i] {
            m.lock();
            CHECK(m.wait());
            woken.push_back(i);
            m.unlock();
        });
        m.until_waiting(i + 1);
    }
    for (u32 i = 0; i < 5; ++i) {
        m.lock();
        m.view.notify(1);
        m.unlock();
        threads[i].join();
    }
    CHECK((woken == std::vector<u32>{0, 1, 2, 3, 4}));
}

TEST(condition_many) {
    World w;
    Meeting m(w);
    u64 items = 0, got = 0;  // under the lock
    const u32 n = rounds(5'000);
    in_threads(6, [&](u32 me) {
        for (u32 i = 0; i < n; ++i) {
            m.lock();
            if (me % 2 == 0) {
                ++items;
                m.view.notify(1);
            } else {
                while (items == 0) m.wait();
                --items;
                ++got;
            }
            m.unlock();
        }
    });
    CHECK_EQ(got, 3 * n);
    CHECK_EQ(m.view.waiting(), 0);
}

TEST(condition_full) {
    World w;
    Meeting m(w);
    std::vector<Condition::Cell*> cells;
    for (u32 i = 0; i < Condition::kMost; ++i) cells.push_back(m.view.enter());
    CHECK(m.view.enter() == nullptr);
    ConditionView::leave(*cells[77]);
    CHECK(m.view.enter() == cells[77]);
    m.view.notify(Condition::kMost);
    for (Condition::Cell* cell : cells) CHECK(ConditionView::leave(*cell));
}

// Those who give up swallow nothing: of all that were notified, or gave up, each is one or the other.
TEST(condition_giving_up) {
    World w;
    Meeting m(w);
    std::atomic<u64> notified{0}, told{0};
    std::atomic<bool> over{false};
    in_threads(4, [&](u32 me) {
        if (me == 0) {
            for (u32 i = 0; i < rounds(2'000); ++i) {
                m.lock();
                told += m.view.notify_first() ? 1 : 0;
                m.unlock();
                if (i % 16 == 0) sched_yield();
            }
            over.store(true);
            return;
        }
        while (!over.load()) {
            m.lock();
            notified += m.wait(now_ns() + 20'000) ? 1 : 0;
            m.unlock();
        }
    });
    CHECK_EQ(notified.load(), told.load());
}

TEST(condition_survives_kill) {
    for (const bool settled : {false, true}) {
        World w;
        Meeting m(w);
        for (u32 round = 0; round < 10; ++round) {
            const pid_t victim = w.start([&] {
                m.lock();
                m.wait();
            });
            m.until_waiting(1);
            const pid_t other = w.start([&] {
                m.lock();
                CHECK(m.wait());
                m.unlock();
            });
            m.until_waiting(2);
            kill(victim, SIGKILL);
            CHECK(was_killed(reap(victim)));
            if (settled) w.settle(victim);
            m.lock();
            m.view.notify(1);
            m.unlock();
            CHECK(went_well(reap(other)));
            if (!settled) w.settle(victim);
            w.settle(other);
            CHECK_EQ(m.view.waiting(), 0);
        }
    }
}

// Notified, and dead before it woke: another is notified in its place.
TEST(condition_passes_on) {
    World w;
    Meeting m(w);
    const pid_t victim = start_and_die(w, [&] {
        CHECK(m.view.enter() != nullptr);
        CHECK(m.view.notify_first());
        die();
    });
    const pid_t other = w.start([&] {
        m.lock();
        CHECK(m.wait());
        m.unlock();
    });
    m.until_waiting(1);
    w.settle(victim);
    CHECK(went_well(reap(other)));
}
