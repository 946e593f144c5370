// Killed at every instruction: what was committed arrives, what was not is gone, and nobody is held up or leaks.
#include "steps.hpp"

#ifdef ALLCORES_TRAPS

using namespace check;

TEST(putting) {
    World w;
    Channel& c = w.channel(3);
    const u64 before = w.arena.usage().blocks;
    for (const u32 buffers : {0U, 2U}) {
        const auto item = [&](u64 a) { return buffers == 0 ? inline_message(a) : block_message(w, a, buffers, 300); };
        kill_at_every_step(w, 1, [&] { step_put(w, c, item(2)); }, [&](pid_t pid, bool finished) {
            put(w, c, item(1));
            w.settle(pid);
            put(w, c, item(3));
            u64 got = take(w, c);
            const bool there = got == 2;  // it was first
            if (there) got = take(w, c);
            CHECK(there || !finished);
            CHECK_EQ(got, 1);
            CHECK_EQ(take(w, c), 3);
            CHECK_EQ(take(w, c), 0);
            CHECK_EQ(w.arena.usage().blocks, before);
        });
    }
}

TEST(taking) {
    World w;
    Channel& c = w.channel(3);
    const u64 before = w.arena.usage().blocks;
    for (const u32 buffers : {0U, 2U}) {
        const auto item = [&](u64 a) {
            return task(buffers == 0 ? inline_message(a) : block_message(w, a, buffers, 300));
        };
        const auto fill = [&] {
            for (const u64 a : {1, 2}) put(w, c, item(a));
        };
        fill();
        kill_at_every_step(w, buffers == 0 ? 1 : 3, [&] { step_take(w, c); }, [&](pid_t pid, bool finished) {
            put(w, c, item(3));
            const u64 taken = w.settle(pid).task;  // the dead had it: then, and only then, it is gone from here
            CHECK(taken == 1 || !finished);
            if (taken == 0) CHECK_EQ(take(w, c), 1);
            CHECK_EQ(take(w, c), 2);
            CHECK_EQ(take(w, c), 3);
            CHECK_EQ(take(w, c), 0);
            CHECK_EQ(w.arena.usage().blocks, before);
            if (!finished) fill();
        });
    }
}

TEST(growing) {
    World w;
    Channel* c = nullptr;
    const auto begin = [&] {
        c = &w.channel(0);
        for (u64 i = 1; i <= kFirstRing; ++i) put(w, *c, inline_message(i));
    };
    begin();
    kill_at_every_step(w, 41, [&] { step_put(w, *c, inline_message(kFirstRing + 1)); }, [&](pid_t pid, bool finished) {
        w.settle(pid);
        put(w, *c, inline_message(kFirstRing + 2));
        for (u64 i = 1; i <= kFirstRing; ++i) CHECK_EQ(take(w, *c), i);
        u64 got = take(w, *c);
        if (finished) CHECK_EQ(got, kFirstRing + 1);
        if (got == kFirstRing + 1) got = take(w, *c);
        CHECK_EQ(got, kFirstRing + 2);
        CHECK_EQ(take(w, *c), 0);
        w.drop(c->object);
        CHECK_EQ(w.arena.usage().blocks, 0);
        begin();
    });
}

TEST(leaving_a_ring) {
    World w;
    Channel* c = &about_to_leave_a_ring(w);
    kill_at_every_step(w, 23, [&] { step_take(w, *c); }, [&](pid_t pid, bool) {
        const u64 taken = w.settle(pid).task;
        CHECK_EQ(taken != 0 ? taken : take(w, *c), kFirstRing + 1);
        CHECK_EQ(take(w, *c), 0);
        put(w, *c, inline_message(99));
        CHECK_EQ(take(w, *c), 99);
        w.drop(c->object);
        CHECK_EQ(w.arena.usage().blocks, 0);
        c = &about_to_leave_a_ring(w);
    });
}

TEST(using_blocks) {
    World w(256 << 20, 0);  // no block stays warm: giving back punches a hole
    kill_at_every_step(
        w, 7,
        [&] {
            step_from_here();
            for (const u64 bytes : {u64{300}, kGiveBackFrom}) {
                const BlockId a = w.arena.take_sparse(bytes), b = w.arena.take_sparse(bytes);
                w.arena.give_back(a);
                w.arena.give_back(b);
            }
        },
        [&](pid_t pid, bool) {
            w.settle(pid);
            CHECK_EQ(w.arena.usage().blocks, 0);
            CHECK_EQ(w.seg.header().warm_bytes.load(), 0);
        });
    // What dying in grow() loses is address space; everything else is found again.
    CHECK(w.arena.usage().free_blocks > 2 * kBlocksPerExtent);
    const u64 extents = w.seg.header().extents_used.load();
    for (u32 i = 0; i < kBlocksPerExtent; ++i) CHECK(w.arena.take(300) != 0);
    CHECK_EQ(w.seg.header().extents_used.load(), extents);
}

TEST(holding_a_lock) {
    for (const bool recursive : {false, true}) {
        for (const u64 flags : {u64{0}, kAtomicUpdate}) {
            World w;
            Lock& l = w.object<Lock>(Kind::lock);
            l.state.recursive = recursive;
            LockView v(w.seg, l.state);
            u32 poisoned = 0;
            const auto use = [&] {
                step_from_here();
                CHECK(v.try_acquire(flags) == Acquire::ok);
                if (recursive) CHECK(v.try_acquire() == Acquire::ok);
                if (recursive) CHECK(v.release() == Release::ok);
                CHECK(v.release() == Release::ok);
            };
            kill_at_every_step(w, 1, use, [&](pid_t pid, bool finished) {
                w.settle(pid);
                Acquire got = v.try_acquire();
                CHECK(got == Acquire::ok || (flags == 0 && got == Acquire::owner_died && !finished));
                if (got == Acquire::owner_died) {
                    ++poisoned;
                    CHECK(v.mend());
                    CHECK(v.try_acquire() == Acquire::ok);
                }
                CHECK(v.release() == Release::ok);
                CHECK(v.is_free());
            });
            CHECK((poisoned != 0) == (flags == 0));
        }
    }
}

// Whoever dies in the middle of ending something leaves the rest of it to recovery.
TEST(ending_an_object) {
    World w;
    Channel* c = nullptr;
    const auto begin = [&] {
        c = &w.channel(0);
        for (u64 i = 0; i <= kFirstRing; ++i) put(w, *c, i < kFirstRing ? inline_message(i) : block_message(w, i, 1, 300));
        for (u64 i = 0; i < kFirstRing - 1; ++i) take(w, *c);
    };
    begin();
    kill_at_every_step(
        w, 17,
        [&] {
            hold(c->object, w.seg.me);
            step_from_here();
            w.let_go(c->object, 1);  // its maker's hold
            w.drop(c->object);
        },
        [&](pid_t pid, bool) {
            w.settle(pid);
            // Killed before it held it: then nothing has happened yet.
            const BlockId block = c->object.head.block;
            if (w.arena.look(block).state() == BlockState::object && c->object.holders[0].load() != 0) w.drop(c->object);
            CHECK_EQ(w.arena.usage().blocks, 0);
            begin();
        });
}

TEST(making_an_object) {
    World w;
    kill_at_every_step(w, 11, [&] {
        step_from_here();
        w.channel(2);
        w.object<Lock>(Kind::lock);
    }, [&](pid_t pid, bool) {
        w.settle(pid);
        CHECK_EQ(w.arena.usage().blocks, 0);
    });
}

TEST(joining) {
    World w;
    const u32 me = static_cast<u32>(getpid());
    long steps = 1;
    for (bool finished = false; !finished; ++steps) {
        const pid_t pid = fork();
        if (pid == 0) {
            w.seg.me = 0;
            run_until_step(steps, nullptr, [&] {
                step_from_here();
                CHECK(join_segment(w.seg));
            });
            _exit(0);
        }
        finished = went_well(reap(pid));
        w.settle(pid);
        // No slot is taken for ever by a process that is gone.
        for (u32 i = 1; i <= kMaxParticipants; ++i) {
            const u32 owner = w.seg.participant(static_cast<Slot>(i)).pid.load();
            CHECK(owner == 0 || owner == me);
        }
    }
    CHECK(steps > 20);
}

// The one who settles a death dies too; its successor settles both.
TEST(recovering) {
    World w;
    Channel* c = nullptr;
    pid_t dead = 0;
    const auto begin = [&] {
        c = &w.channel(4);
        for (u64 i = 1; i <= 3; ++i) put(w, *c, task(block_message(w, i, 1, 300)));
        Lock& l = w.object<Lock>(Kind::lock);
        // In one process what several could leave: a cell in each state, a lock, blocks, and its own holds.
        dead = start_and_die(w, [&] {
            Ring& r = w.seg.at<Ring>(c->origin.load());
            r.cell(0).word.store(CellWord::make(0, CellState::reading, w.seg.me).raw);
            w.arena.set(r.cell(0).message.root, BlockState::owned);
            w.seg.participant(w.seg.me).task.store(1);
            r.head.store(1);
            r.cell(1).word.store(CellWord::make(0, CellState::committing, w.seg.me).raw);
            w.arena.set(r.cell(1).message.root, BlockState::owned);
            r.cell(3).word.store(CellWord::make(0, CellState::writing, w.seg.me).raw);
            r.tail.store(4);
            CHECK(LockView(w.seg, l.state).try_acquire() == Acquire::ok);
            w.object<Event>(Kind::event);
            w.arena.take(300);
            hold(c->object, w.seg.me);
            hold(l.object, w.seg.me);
            die();
        });
        CHECK(!w.let_go(l.object, w.seg.me));
    };
    begin();
    kill_at_every_step(w, 401, [&] {
        step_from_here();
        w.settle(dead);
    }, [&](pid_t pid, bool finished) {
        w.settle(pid);
        if (!finished) w.settle(dead);
        for (u64 i = 1; i <= 3; ++i) CHECK_EQ(take(w, *c), i);
        CHECK_EQ(take(w, *c), 0);
        w.drop(c->object);
        CHECK_EQ(w.arena.usage().blocks, 0);
        begin();
    });
}

#endif
