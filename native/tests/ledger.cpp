// Channels that count: bytes that wait, items that are not done, and in whose hands they are; also after a death at any instruction.
// Over its size: each operation of the ledger is killed at every instruction, and each needs its own check afterwards.
#include "steps.hpp"

using namespace check;

namespace {

Channel& counted(World& w, u64 bound, Counting counting) {
    const u64 offset = ChannelView::create(w.seg, w.arena, bound, counting);
    CHECK(offset != 0);
    return w.seg.at<Channel>(offset);
}
CountedView view_of(World& w, Channel& c) { return {w.seg, w.arena, c}; }

template <class F>
auto inside(CountedView v, F&& f) {
    CHECK(v.enter());
    const auto result = f(v);
    v.leave();
    return result;
}
Sent put_one(World& w, Channel& c, const Message& m) {
    return inside(view_of(w, c), [&](CountedView& v) { return v.try_put(m); });
}
u64 take_one(World& w, Channel& c) {
    Message m{};
    return inside(view_of(w, c), [&](CountedView& v) { return v.try_take(m); }) ? m.a : 0;
}
bool finish_one(World& w, Channel& c) {
    return inside(view_of(w, c), [](CountedView& v) { return v.task_done(); });
}
u64 recover_all(World& w, Channel& c) {
    return inside(view_of(w, c), [](CountedView& v) { return v.recover(); });
}

// What the ledger says is what is so: looked at after somebody has been inside, since that one mends.
void check_sums(World& w, Channel& c) {
    inside(view_of(w, c), [&](CountedView& v) {
        u64 items = 0, bytes = 0;
        w.view(c).for_each_ring([&](Ring& r) {
            for (u64 i = 0; i < r.capacity; ++i) {
                if (CellWord{r.cell(i).word.load()}.state() != CellState::ready) continue;
                ++items;
                bytes += r.cell(i).message.a;
            }
        });
        CHECK_EQ(c.ledger().dirty.load(), 0);
        CHECK_EQ(c.ledger().bytes.load(), bytes);
        if (c.ledger().slots == 0) items = 0;
        CHECK_EQ(c.ledger().unfinished.load() + c.ledger().early.load(), items + v.ledger().in_hands());
        return true;
    });
}

void end(World& w, Channel& c) {
    w.drop(c.object);
    CHECK_EQ(w.arena.usage().blocks, 0);
}

}  // namespace

TEST(smoke) {
    World w;
    Channel& c = counted(w, 0, {0, true});
    CHECK(!finish_one(w, c));
    for (const u64 a : {10, 20, 30}) CHECK(put_one(w, c, inline_message(a)) == Sent::ok);
    CHECK_EQ(c.ledger().bytes.load(), 60);
    CHECK_EQ(take_one(w, c), 10);
    CHECK_EQ(c.ledger().bytes.load(), 50);
    CHECK_EQ(c.ledger().hands(w.seg.me).items.load(), 1);
    for (u32 i = 0; i < 3; ++i) CHECK(finish_one(w, c));  // two of them early
    CHECK(!finish_one(w, c));
    CHECK(view_of(w, c).is_finished());
    CHECK_EQ(take_one(w, c), 20);
    CHECK_EQ(take_one(w, c), 30);
    CHECK(!finish_one(w, c));
    CHECK_EQ(take_one(w, c), 0);
    check_sums(w, c);
    end(w, c);
}

TEST(capacity) {
    for (const u64 bound : {0, 1, 2, 3}) {
        World w;
        Channel& c = counted(w, bound, {100, false});
        CHECK(put_one(w, c, inline_message(250)) == Sent::ok);  // alone
        CHECK(put_one(w, c, inline_message(1)) == Sent::full);
        CHECK_EQ(take_one(w, c), 250);
        for (u32 turn = 0; turn < 5; ++turn) {
            const u64 n = bound == 0 ? 10 : bound;
            for (u64 i = 0; i < n; ++i) CHECK(put_one(w, c, inline_message(10)) == Sent::ok);
            CHECK(put_one(w, c, inline_message(10)) == Sent::full);
            check_sums(w, c);
            for (u64 i = 0; i < n; ++i) CHECK_EQ(take_one(w, c), 10);
        }
        CHECK(!view_of(w, c).ledger().is_dirty());
        end(w, c);
    }
}

TEST(mpmc) {
    for (const u64 bound : {0, 3}) {
        World w;
        Channel& c = counted(w, bound, {200, true});
        const u32 each = rounds(5'000);
        in_threads(5, [&](u32 me) {
            if (me == 4) return wait_in_time(w.seg, c.ledger().finished, [&] { return view_of(w, c).is_finished(); }, [] { return false; });
            for (u32 i = 0; i < each; ++i) {
                if (me < 2) {
                    const Message m = inline_message(1 + i % 90);
                    const auto attempt = [&] { return view_of(w, c).may_put(m) && put_one(w, c, m) == Sent::ok; };
                    wait_in_time(w.seg, c.room, attempt, [] { return false; });
                } else {
                    auto v = view_of(w, c);
                    wait_in_time(w.seg, c.items, [&] { return v.may_take() && take_one(w, c) != 0; }, [&] { return v.may_take(); });
                    CHECK(finish_one(w, c));
                }
                CHECK(c.ledger().bytes.load() <= 200);
            }
        });
        CHECK(view_of(w, c).is_finished());
        CHECK_EQ(c.ledger().bytes.load(), 0);
        check_sums(w, c);
        end(w, c);
    }
}

TEST(damage_is_noticed) {
    World w;
    Channel& c = counted(w, 0, {100, true});
    CHECK(w.view(c).is_sound());
    c.ledger().slots = 7;
    CHECK(!w.view(c).is_sound());
    c.ledger().slots = kMaxParticipants;
    c.counts = 1 << 20;
    CHECK(!w.view(c).is_sound());
}

// Who dies with items in its hands is found, settled or not, its slot in use again or not; until somebody marks them done.
TEST(survives_kill) {
    World w;
    Channel& c = counted(w, 0, {0, true});
    u64 lost = 0;
    for (u32 round = 0; round < 6; ++round) {
        for (const u64 a : {1, 2}) CHECK(put_one(w, c, inline_message(a)) == Sent::ok);
        const pid_t dead = start_and_die(w, [&] {
            for (u32 i = 0; i < 2; ++i) take_one(w, c);
            die();
        });
        lost += 2;
        CHECK_EQ(view_of(w, c).ledger().lost(), lost);
        CHECK(view_of(w, c).may_end_join());
        w.settle(dead);
        CHECK_EQ(view_of(w, c).ledger().lost(), lost);
        CHECK(put_one(w, c, inline_message(3)) == Sent::ok);
        const pid_t next = w.start([&] {  // in the same slot
            CHECK_EQ(view_of(w, c).ledger().lost(), lost);
            CHECK_EQ(take_one(w, c), 3);
            CHECK_EQ(view_of(w, c).ledger().lost(), lost);
            CHECK(finish_one(w, c));
        });
        CHECK(went_well(reap(next)));
        w.settle(next);
        CHECK_EQ(view_of(w, c).ledger().lost(), lost);
        if (round % 2 == 0) {
            CHECK(finish_one(w, c));  // by another
            --lost;
        } else {
            CHECK_EQ(recover_all(w, c), lost);
            CHECK_EQ(recover_all(w, c), 0);
            lost = 0;
            CHECK(view_of(w, c).is_finished());
        }
        check_sums(w, c);
    }
    end(w, c);
}

// Marked done by one that has none: a living one's, which may have passed it on; what the dead took is still missed.
TEST(the_items_of_the_dead_are_marked_last) {
    World w;
    Channel& c = counted(w, 0, {0, true});
    for (const u64 a : {1, 2}) CHECK(put_one(w, c, inline_message(a)) == Sent::ok);
    const pid_t dead = start_and_die(w, [&] {  // in the lower slot
        take_one(w, c);
        die();
    });
    Gate& took = shared<Gate>();
    const pid_t living = w.start([&] {
        take_one(w, c);
        took.open();
        for (;;) pause();
    });
    took.pass();
    CHECK(finish_one(w, c));
    CHECK_EQ(view_of(w, c).ledger().lost(), 1);
    CHECK(finish_one(w, c));
    CHECK_EQ(view_of(w, c).ledger().lost(), 0);
    CHECK(!finish_one(w, c));
    kill(living, SIGKILL);
    CHECK(was_killed(reap(living)));
    for (const pid_t pid : {dead, living}) w.settle(pid);
    end(w, c);
}

// What ends a join wakes the one that sleeps in it: the last item that is done; and whoever mends, since while that one was
// inside, nobody could see what the dead had left.
TEST(who_joins_is_woken) {
    World w;
    for (const bool mends : {false, true}) {
        Channel& c = counted(w, 0, {0, true});
        CHECK(put_one(w, c, inline_message(1)) == Sent::ok);
        auto v = view_of(w, c);
        if (mends) {
            w.settle(start_and_die(w, [&] {
                CHECK(v.enter());
                Message m;
                v.ledger().begin_take();
                CHECK(w.view(c).try_take(m));
                die();
            }));
            CHECK(v.ledger().try_enter());
        }
        const pid_t joins = w.start([&] {
            wait_in_time(w.seg, c.ledger().finished, [&] { return view_of(w, c).may_end_join(); }, [] { return false; });
        });
        while ((c.ledger().finished.word.load() & kSleepers) == 0) sched_yield();
        if (mends) {
            v.ledger().leave();
            CHECK(inside(view_of(w, c), [](CountedView& again) { return again.ledger().lost() == 1; }));
        } else {
            CHECK_EQ(take_one(w, c), 1);
            CHECK(finish_one(w, c));
        }
        CHECK(went_well(reap(joins)));
        w.settle(joins);
        CHECK_EQ(recover_all(w, c), mends ? 1 : 0);
        end(w, c);
    }
}

// One waits in a join for the items of another, which is killed.
TEST(a_join_ends_with_the_death_of_a_consumer) {
    World w;
    for (u32 round = 0; round < 10; ++round) {
        Channel& c = counted(w, 0, {0, true});
        Gate& took = shared<Gate>();
        CHECK(put_one(w, c, inline_message(1)) == Sent::ok);
        const pid_t victim = w.start([&] {
            take_one(w, c);
            if (round % 2 != 0) clear_hold(c.object, w.seg.me);  // with no handle left
            took.open();
            for (;;) pause();
        });
        took.pass();
        const pid_t joins = w.start([&] {
            wait_in_time(w.seg, c.ledger().finished, [&] { return view_of(w, c).may_end_join(); }, [] { return false; });
            CHECK(!view_of(w, c).is_finished());
        });
        while ((c.ledger().finished.word.load() & kSleepers) == 0) sched_yield();
        kill(victim, SIGKILL);
        CHECK(was_killed(reap(victim)));
        w.settle(victim);
        CHECK(went_well(reap(joins)));
        w.settle(joins);
        CHECK_EQ(recover_all(w, c), 1);
        end(w, c);
    }
}

#ifdef ALLCORES_TRAPS

namespace {

// What must be so whatever the dead was at. `early`: others come before its death is settled.
void check_all_arrives(World& w, Channel& c, pid_t pid, bool early, u64 least, u64 most) {
    if (!early) w.settle(pid);
    CHECK(put_one(w, c, inline_message(9)) == Sent::ok);
    if (early) w.settle(pid);
    check_sums(w, c);
    u64 got = 0, last = 0;
    for (u64 a; (a = take_one(w, c)) != 0; ++got) {
        CHECK(finish_one(w, c));
        last = a;
    }
    CHECK_EQ(last, 9);
    got += recover_all(w, c);
    CHECK(least < got && got <= most + 1);
    CHECK(view_of(w, c).is_finished());
    CHECK_EQ(c.ledger().bytes.load(), 0);
    CHECK_EQ(c.ledger().early.load(), 0);
    check_sums(w, c);
}

template <class F>
void step_inside(World& w, Channel& c, F&& f) {
    auto v = view_of(w, c);
    step_from_here();
    if (!v.try_enter()) return;
    f(v);
    v.leave();
}

}  // namespace

TEST(killed_in_a_put) {
    for (const bool early : {false, true}) {
        World w;
        Channel& c = counted(w, 3, {100, true});
        kill_at_every_step(w, 1, [&] {
            const Message m = inline_message(7);
            step_inside(w, c, [&](CountedView& v) { v.try_put(m); });
        }, [&](pid_t pid, bool finished) { check_all_arrives(w, c, pid, early, finished, 1); });
        end(w, c);
    }
}

TEST(killed_in_a_take) {
    for (const bool early : {false, true}) {
        World w;
        Channel& c = counted(w, 5, {100, true});
        const auto begin = [&] {
            for (const u64 a : {1, 2}) CHECK(put_one(w, c, inline_message(a)) == Sent::ok);
        };
        begin();
        kill_at_every_step(w, 1, [&] {
            Message m;
            step_inside(w, c, [&](CountedView& v) { v.try_take(m); });
        }, [&](pid_t pid, bool) {
            check_all_arrives(w, c, pid, early, 2, 2);
            begin();
        });
        while (take_one(w, c) != 0) {
        }
        end(w, c);
    }
}

// Its slot has still items of a process that died before.
TEST(killed_in_a_take_after_another) {
    for (const bool early : {false, true}) {
        World w;
        Channel& c = counted(w, 5, {0, true});
        const auto begin = [&] {
            for (const u64 a : {1, 2, 3}) CHECK(put_one(w, c, inline_message(a)) == Sent::ok);
            w.settle(start_and_die(w, [&] {
                take_one(w, c);
                die();
            }));
        };
        begin();
        kill_at_every_step(w, 3, [&] {
            Message m;
            step_inside(w, c, [&](CountedView& v) { v.try_take(m); });
        }, [&](pid_t pid, bool) {
            check_all_arrives(w, c, pid, early, 3, 3);
            begin();
        });
    }
}

TEST(killed_in_a_task_done) {
    for (const bool taken : {false, true}) {  // else early
        World w;
        Channel& c = counted(w, 5, {0, true});
        const auto begin = [&] {
            for (const u64 a : {1, 2}) CHECK(put_one(w, c, inline_message(a)) == Sent::ok);
            if (taken) take_one(w, c);
        };
        begin();
        kill_at_every_step(w, 1, [&] {
            step_inside(w, c, [&](CountedView& v) { v.task_done(); });
        }, [&](pid_t pid, bool finished) {
            w.settle(pid);
            check_sums(w, c);
            const u64 left = c.ledger().unfinished.load();
            CHECK(left == 1 || (left == 2 && !finished));
            while (take_one(w, c) != 0) {
            }
            for (u64 i = 0; i < left; ++i) CHECK(finish_one(w, c));
            CHECK(!finish_one(w, c));
            begin();
        });
    }
}

TEST(killed_in_a_recover) {
    World w;
    Channel& c = counted(w, 5, {0, true});
    const auto begin = [&] {
        for (const u64 a : {1, 2, 3}) CHECK(put_one(w, c, inline_message(a)) == Sent::ok);
        w.settle(start_and_die(w, [&] {
            for (u32 i = 0; i < 2; ++i) take_one(w, c);
            die();
        }));
    };
    begin();
    kill_at_every_step(w, 3, [&] {
        step_inside(w, c, [&](CountedView& v) { v.recover(); });
    }, [&](pid_t pid, bool) {
        check_all_arrives(w, c, pid, false, 1, 3);
        begin();
    });
}

// Who puts in order what a dead one left dies in that, too.
TEST(killed_in_mending) {
    for (const char* const at : {"put", "take", "done"}) {
        World w;
        Channel& c = counted(w, 5, {0, true});
        pid_t first = 0;
        const auto begin = [&] {
            for (const u64 a : {1, 2}) CHECK(put_one(w, c, inline_message(a)) == Sent::ok);
            first = start_and_die(w, [&] {
                auto v = view_of(w, c);
                Message m = inline_message(3);
                CHECK(v.enter());
                LedgerView& l = v.ledger();
                if (*at == 'p') {
                    l.begin_put();
                    put(w, c, m);
                } else if (*at == 't') {
                    l.begin_take();
                    take(w, c);
                } else {
                    c.ledger().dirty.store(kSum);
                    c.ledger().early.fetch_add(1);
                }
                die();
            });
        };
        begin();
        kill_at_every_step(w, 3, [&] {
            step_inside(w, c, [](CountedView&) {});
        }, [&](pid_t pid, bool) {
            w.settle(first);
            w.settle(pid);
            check_sums(w, c);
            CHECK_EQ(c.ledger().unfinished.load(), *at == 'p' ? 3 : *at == 't' ? 2 : 1);
            while (take_one(w, c) != 0) CHECK(finish_one(w, c) || *at == 'd');
            CHECK_EQ(recover_all(w, c), *at == 't' ? 1 : 0);
            CHECK(view_of(w, c).is_finished());
            begin();
        });
    }
}

TEST(killed_in_making_and_ending) {
    World w;
    kill_at_every_step(w, 11, [&] {
        step_from_here();
        Channel& c = counted(w, 2, {100, false});
        w.drop(c.object);
    }, [&](pid_t pid, bool) {
        w.settle(pid);
        CHECK_EQ(w.arena.usage().blocks, 0);
    });
}

#endif
