// Held up at every instruction, not dead: the others go on around it, and it finds its way when it comes back.
#include "steps.hpp"

#ifdef ALLCORES_TRAPS

using namespace check;

TEST(consumer) {
    for (const u64 bound : {1, 2, 0}) {
        World w;
        Channel* c = nullptr;
        u64& theirs = shared<u64>();
        const u64 first = bound != 0 ? 1 : kFirstRing + 1;
        u64 sum = 0, in = 0;
        const auto begin = [&] {
            c = bound != 0 ? &w.channel(bound) : &about_to_leave_a_ring(w);
            theirs = sum = 0;
            in = first;
            if (bound != 0) put(w, *c, inline_message(1));
        };
        begin();
        hold_up_at_every_step(
            w, bound == 0 ? 23 : 1, [&] { theirs = step_take(w, *c); },
            [&] {
                for (u64 i = 0; i < 3; ++i) {
                    sum += take(w, *c);
                    if (w.view(*c).try_put(inline_message(in + 1)) == Sent::ok) ++in;
                }
            },
            [&](pid_t pid) {
                w.settle(pid);
                sum += theirs;
                while (const u64 a = take(w, *c)) sum += a;
                CHECK_EQ(sum, (first + in) * (in - first + 1) / 2);
                w.drop(c->object);
                CHECK_EQ(w.arena.usage().blocks, 0);
                begin();
            });
    }
}

TEST(producer) {
    for (const u64 bound : {1, 2, 0}) {
        World w;
        Channel* c = nullptr;
        u64& theirs = shared<u64>();
        u64 in = 0, out = 0;
        const auto begin = [&] {
            c = &w.channel(bound);
            theirs = in = out = 0;
            for (; bound == 0 && in < kFirstRing; ++in) put(w, *c, inline_message(1));
        };
        begin();
        hold_up_at_every_step(
            w, bound == 0 ? 23 : 1, [&] { theirs = step_put(w, *c, inline_message(1)); },
            [&] {
                for (u64 i = 0; i < 5; ++i) {
                    in += w.view(*c).try_put(inline_message(1)) == Sent::ok;
                    out += take(w, *c);
                }
            },
            [&](pid_t pid) {
                w.settle(pid);
                while (take(w, *c) != 0) ++out;
                CHECK_EQ(in + theirs, out);
                w.drop(c->object);
                CHECK_EQ(w.arena.usage().blocks, 0);
                begin();
            });
    }
}

// At the very head another consumer died in the middle; its item is put back there, and must not be passed over.
TEST(consumer_that_saw_a_dead_reader) {
    for (const u64 bound : {1, 2}) {
        World w;
        u64& theirs = shared<u64>();
        Channel* c = nullptr;
        pid_t dead = 0;
        const auto begin = [&] {
            c = &w.channel(bound);
            theirs = 0;
            put(w, *c, inline_message(7));
            dead = start_and_die(w, [&] {
                w.seg.at<Ring>(c->origin.load()).cell(0).word.store(CellWord::make(0, CellState::reading, w.seg.me).raw);
                die();
            });
        };
        begin();
        hold_up_at_every_step(w, 1, [&] { theirs = step_take(w, *c); }, [&] { w.settle(dead); }, [&](pid_t pid) {
            CHECK_EQ(theirs + take(w, *c), 7);  // now: another recovery would bring it back
            CHECK_EQ(take(w, *c), 0);
            w.settle(pid);
            w.drop(c->object);
            begin();
        });
    }
}

// Takes a block while others take and give back, and its memory is given away: no free block is forgotten.
void hold_up_a_taker(World& w, u64 bytes, bool none_is_free) {
    u32& theirs = shared<u32>();
    BlockId held = 0;
    std::vector<BlockId> all;
    const auto take_all = [&] {
        for (u64 free = w.arena.usage().free_blocks; free != 0; --free) all.push_back(w.arena.take_sparse(bytes));
    };
    const auto begin = [&] {
        theirs = 0;
        take_all();
        held = all.back();
        all.pop_back();
        while (!none_is_free && !all.empty()) w.arena.give_back(all.back()), all.pop_back();
    };
    w.arena.give_back(w.arena.take_sparse(bytes));
    begin();
    hold_up_at_every_step(
        w, 1,
        [&] {
            step_from_here();
            theirs = w.arena.take_sparse(bytes);
        },
        [&] {
            w.arena.give_back(held);
            held = w.arena.take_sparse(bytes);
            CHECK(held != 0 && held != theirs);
            w.arena.give_back(held);
        },
        [&](pid_t pid) {
            const u32 extents = w.seg.header().extents_used.load();
            take_all();
            CHECK_EQ(w.seg.header().extents_used.load(), extents);
            w.settle(pid);
            begin();
        });
}

TEST(taker_of_a_cold_block) {
    World w(256 << 20, 0);
    hold_up_a_taker(w, kGiveBackFrom, false);
}

TEST(taker_of_the_only_block) {
    World w;
    hold_up_a_taker(w, 300, true);
}

// Seeing a dead owner, then held up until the owner's slot is a living process's, which holds the lock.
TEST(finder_of_a_dead_lock_owner) {
    World w;
    Lock& l = w.object<Lock>(Kind::lock);
    LockView v(w.seg, l.state);
    pid_t dead = 0, next = 0;
    Gate& go = shared<Gate>();
    const auto begin = [&] {
        if (!v.is_free()) v.mend();
        dead = start_and_die(w, [&] {
            CHECK(v.try_acquire() == Acquire::ok);
            die();
        });
    };
    begin();
    hold_up_at_every_step(
        w, 1,
        [&] {
            my_thread();
            step_from_here();
            CHECK(v.try_acquire() != Acquire::ok);
        },
        [&] {
            const Slot slot = slot_of(w.seg, static_cast<u32>(dead));
            w.settle(dead);
            CHECK(v.mend());
            new (&go) Gate{};
            Gate& held = shared<Gate>();
            next = w.start([&] {
                CHECK(w.seg.me == slot);
                CHECK(v.try_acquire() == Acquire::ok);
                held.open();
                go.pass();
                CHECK(v.held_by_me());
                CHECK(v.release() == Release::ok);
            });
            held.pass();
        },
        [&](pid_t pid) {
            w.settle(pid);
            go.open();
            CHECK(went_well(reap(next)));
            w.settle(next);
            begin();
        });
}

// Letting go while another, who has let go just before, ends the object and makes a new one in its place.
TEST(one_of_the_last_holders) {
    World w;
    u32& theirs = shared<u32>();
    Object* old = nullptr;
    const auto begin = [&] {
        old = &w.object<Event>(Kind::event).object;
        hold(*old, 2);
        theirs = 0;
    };
    begin();
    hold_up_at_every_step(
        w, 1,
        [&] {
            old->holders[0].fetch_and(~u64{1});  // we let go, and are about to look whether we are the last
            step_from_here();
            theirs = w.let_go(*old, 2);
            if (theirs != 0) end_object(w.seg, w.arena, *old);
        },
        [&] {
            if (w.is_last(*old)) end_object(w.seg, w.arena, *old);
            w.object<Event>(Kind::event);  // in the same place, unless the other ends the old one yet
        },
        [&](pid_t pid) {
            w.settle(pid);
            CHECK_EQ(w.arena.usage().blocks, 1);
            for_each_object(w.seg, w.arena, [&](Object& o, Kind) { w.drop(o); });
            CHECK_EQ(w.arena.usage().blocks, 0);
            begin();
        });
}

// Settling a death, held up in the first or second walk over all objects, while another process ends the first of them and
// fills its blocks with `pattern`.
void hold_up_recovery(Kind kind, u16 pattern, bool second_walk) {
    World w;
    Object* o = nullptr;
    std::vector<std::pair<u16*, BlockId>> ours;
    const auto take = [&](u64 bytes) {
        const BlockId id = w.arena.take(bytes);
        ours.emplace_back(reinterpret_cast<u16*>(w.arena.data(id)), id);
        std::fill_n(ours.back().first, bytes / sizeof(u16), pattern);
    };
    const auto begin = [&] {
        o = kind == Kind::channel ? &w.channel(0).object : &w.object<Lock>(kind).object;
        for (u64 i = 0; kind == Kind::channel && i <= kFirstRing; ++i)
            put(w, reinterpret_cast<Channel&>(*o), inline_message(i));
    };
    begin();
    hold_up_at_every_step(
        w, 3,
        [&] {
            w.let_go(*o, w.seg.me);  // who recovers holds nothing
            if (!second_walk) step_from_here();
            recover(w.seg, w.arena, 900, [&](const LastWords&) { step_from_here(); });
        },
        [&] {
            w.drop(*o);
            take(kind == Kind::channel ? sizeof(Channel) : sizeof(Lock));
            if (kind == Kind::channel) take(Ring::bytes_for(kFirstRing)), take(Ring::bytes_for(kFirstRing * kRingGrowth));
        },
        [&](pid_t pid) {
            for (const auto& [words, id] : ours) {
                CHECK(w.arena.look(id).state() == BlockState::owned);
                for (u64 i = 0; i < sizeof(Lock) / sizeof(u16); ++i) CHECK_EQ(words[i], pattern);
                w.arena.give_back(id);
            }
            ours.clear();
            w.settle(pid);
            CHECK_EQ(w.arena.usage().blocks, 0);
            begin();
        },
        100);
}

// Whatever is in a block that was an object a moment ago: zeros, ones, and what looks as if the dead owned it.
TEST(recovery_sees_an_old_channel) {
    for (const u16 pattern : {0, 0xffff, 900}) {
        for (const bool second : {false, true}) hold_up_recovery(Kind::channel, pattern, second);
    }
}

TEST(recovery_sees_an_old_lock) {
    for (const u16 pattern : {0, 0xffff, 900}) {
        for (const bool second : {false, true}) hold_up_recovery(Kind::lock, pattern, second);
    }
}

#endif
