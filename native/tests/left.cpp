// Killed at every instruction in a bounded semaphore, a condition, a barrier, a blocked acquire: nothing is left behind.
#include "steps.hpp"

#ifdef ALLCORES_TRAPS

using namespace check;

TEST(holding_a_permit) {
    World w;
    const BlockId block = w.arena.take(BoundedSemaphore::bytes_for(2));
    auto& s = *reinterpret_cast<BoundedSemaphore*>(w.arena.data(block));
    std::memset(static_cast<void*>(&s), 0, BoundedSemaphore::bytes_for(2));
    s.permits = 2;
    become_object(w.seg, w.arena, s.object, block, Kind::bounded_semaphore);
    BoundedSemaphoreView v(w.seg, s);
    CHECK(v.try_acquire());  // one permit is ours
    kill_at_every_step(w, 1, [&] {
        step_from_here();
        CHECK(v.try_acquire());
        CHECK(v.release());
    }, [&](pid_t pid, bool) {
        w.settle(pid);
        CHECK_EQ(v.value(), 1);
    });
}

TEST(waiting_for_a_condition) {
    World w;
    Condition& c = w.object<Condition>(Kind::condition);
    ConditionView v(w.seg, c);
    Condition::Cell* ours = v.enter();
    CHECK(ours != nullptr);
    kill_at_every_step(w, 1, [&] {
        step_from_here();
        Condition::Cell* cell = v.enter();
        v.notify(2);
        ConditionView::leave(*cell);
    }, [&](pid_t pid, bool finished) {
        w.settle(pid);
        // Ours has waited longer: it is notified first, and gets what the dead one had been told.
        const bool told = ConditionView::leave(*ours);
        CHECK(told || !finished);
        CHECK_EQ(v.waiting(), 0);
        ours = v.enter();
        CHECK(ours == &c.cell[0]);
    });
}

TEST(at_a_barrier) {
    World w;
    const BlockId block = w.arena.take(Barrier::bytes_for(2));
    Barrier& b = *reinterpret_cast<Barrier*>(w.arena.data(block));
    std::memset(static_cast<void*>(&b), 0, Barrier::bytes_for(2));
    b.parties = 2;
    become_object(w.seg, w.arena, b.object, block, Kind::barrier);
    BarrierView v(w.seg, b);
    u64 word = 0;
    u32 index = 0;
    CHECK(v.arrive(word, index) == BarrierView::Arrived::yes);
    kill_at_every_step(w, 1, [&] {
        step_from_here();
        u64 theirs = 0;
        u32 place = 0;
        if (v.arrive(theirs, place) == BarrierView::Arrived::last) v.trip(theirs);
    }, [&](pid_t pid, bool finished) {
        w.settle(pid);
        bool well = false;
        CHECK(v.ended(word, well));  // met or broken: nobody waits
        CHECK(well || !finished);
        v.reset();
        CHECK(v.arrive(word, index) == BarrierView::Arrived::yes);
    });
}

TEST(in_the_table_of_waiters) {
    World w;
    Lock& l = w.object<Lock>(Kind::lock);
    CHECK(LockView(w.seg, l.state).try_acquire() == Acquire::ok);
    kill_at_every_step(w, 1, [&] {
        step_from_here();
        WaitRecord record(w.seg);
        record.announce(l.state, 0);
        Cycle cycle;
        CHECK(!record.closes(cycle));
    }, [&](pid_t pid, bool) {
        w.settle(pid);
        for (u32 i = 0; i < w.seg.header().waiters_used.load(); ++i)
            CHECK_EQ(w.seg.at<Waiter>(kWaitersAt + i * sizeof(Waiter)).thread.load(), 0);
    });
}

// The one who recovers is killed in it: its successor, which takes the recovery word over, finds everything to be done.
TEST(recovering) {
    World w;
    Lock& l = w.object<Lock>(Kind::lock);
    Channel& c = w.channel(4);
    const u64 before = w.arena.usage().blocks;
    pid_t first = 0;
    const auto begin = [&] {
        put(w, c, inline_message(1));
        first = start_and_die(w, [&] {
            CHECK(LockView(w.seg, l.state).try_acquire() == Acquire::ok);
            CHECK(w.arena.take(300) != 0);
            run_until_step(60, nullptr, [&] { step_take(w, c); });
            die();
        });
    };
    begin();
    kill_at_every_step(w, 173, [&] {
        step_from_here();
        const Recovering one_at_a_time(w.seg);
        w.settle(first);
    }, [&](pid_t pid, bool) {
        {
            const Recovering one_at_a_time(w.seg);
            w.settle(first);
            w.settle(pid);
        }
        CHECK_EQ(w.seg.header().recovering.load(), 0);
        CHECK(LockView(w.seg, l.state).mend());
        CHECK(take(w, c) <= 1);
        CHECK_EQ(take(w, c), 0);
        CHECK_EQ(w.arena.usage().blocks, before);
        begin();
    });
}

// What is so large that its memory goes back at once: killed in between, it is no object any more, and its block is nobody's.
TEST(ending_what_is_large) {
    World w(256 << 20, 0);
    kill_at_every_step(w, 1, [&] {
        Data& d = w.object<Data>(Kind::data, kGiveBackFrom);
        step_from_here();
        w.drop(d.object);
    }, [&](pid_t pid, bool) {
        w.settle(pid);
        CHECK_EQ(w.arena.usage().blocks, 0);
    });
}

// Whoever finds that nobody can receive empties the pipe, without a hold of it.
TEST(emptying_a_pipe) {
    World w;
    const u64 offset = PipeView::create(w.seg, w.arena);
    Pipe& p = w.seg.at<Pipe>(offset);
    PipeView v(w.seg, w.arena, p);
    hold_handle(w.seg, w.arena, offset | kSends, w.seg.me);
    const u64 before = w.arena.usage().blocks;
    const auto begin = [&] {
        pin_handle(w.seg, w.arena, offset | kReceives);
        for (u64 i = 1; i <= 2; ++i) put(w, p.channel, block_message(w, i, 1, 1000));
    };
    begin();
    kill_at_every_step(w, 5, [&] {
        clear_hold(p.channel.object, w.seg.me);
        step_from_here();
        unpin_handle(w.seg, w.arena, offset | kReceives);
    }, [&](pid_t pid, bool) {
        w.settle(pid);
        if (!v.is_gone(kReceives)) v.unpin(kReceives);  // killed before that
        if (static_cast<u32>(p.channel.object.pins.load()) != 0) unpin(p.channel.object);
        CHECK_EQ(v.channel().length(), 0);
        CHECK_EQ(w.arena.usage().blocks, before);
        begin();
    });
}

#endif
