// Pipes: what was sent arrives before the end, and the end comes when nobody can send any more, in whatever way that came.
#include "messages.hpp"

using namespace check;

namespace {

struct Ends {
    World& w;
    u64 offset;
    explicit Ends(World& world) : w(world), offset(PipeView::create(w.seg, w.arena)) {
        CHECK(offset != 0);
        hold_handle(w.seg, w.arena, offset | kReceives, w.seg.me);
        hold_handle(w.seg, w.arena, offset | kSends, w.seg.me);
    }
    PipeView view() const { return {w.seg, w.arena, w.seg.at<Pipe>(offset)}; }
    Channel& channel() const { return w.seg.at<Channel>(offset); }
    Receive receive() const {
        Message m;
        return view().try_receive(m);
    }
    bool send(u64 a) const { return view().channel().try_put(inline_message(a)) == Sent::ok; }
    void end() const { w.drop(channel().object); }
};

// Waits for an item or the end; not as long as the net.
Receive wait_here(Ends& e, Message& m) {
    Receive got = Receive::empty;
    const i64 start = now_ns();
    const auto attempt = [&] { return (got = e.view().try_receive(m)) != Receive::empty; };
    const Wait how = wait_for(e.w.seg, e.channel().items, kNever, attempt, [&] { return e.view().can_receive(); });
    CHECK(how == Wait::done);
    CHECK(now_ns() - start < kNet);
    return got;
}

// A participant that holds a side until it is killed.
pid_t start_holder(Ends& e, u64 side, Gate& held) {
    const pid_t pid = e.w.start([&] {
        hold_handle(e.w.seg, e.w.arena, e.offset | side, e.w.seg.me);
        held.open();
        for (;;) pause();
    });
    held.pass();
    return pid;
}

}  // namespace

TEST(smoke) {
    World w;
    Ends e(w);
    CHECK(e.receive() == Receive::empty);
    CHECK(!e.view().can_receive());
    CHECK(e.send(1));
    CHECK(e.view().can_receive());
    CHECK(e.receive() == Receive::ok);
    CHECK(e.receive() == Receive::empty);
    e.end();
    CHECK_EQ(w.arena.usage().blocks, 0);
}

TEST(what_was_sent_comes_before_the_end) {
    World w;
    Ends e(w);
    for (u64 i = 0; i < 3 * kFirstRing; ++i) CHECK(e.send(i));
    e.view().let_go(kSends, w.seg.me);
    for (u64 i = 0; i < 3 * kFirstRing; ++i) {
        Message m;
        CHECK(e.view().can_receive());
        CHECK(e.view().try_receive(m) == Receive::ok);
        CHECK_EQ(m.a, i);
    }
    CHECK(e.view().can_receive());
    CHECK(e.receive() == Receive::ended);
    CHECK(e.receive() == Receive::ended);
    e.end();
    CHECK_EQ(w.arena.usage().blocks, 0);
}

TEST(what_nobody_can_receive_is_given_back) {
    World w;
    Ends e(w);
    const u64 before = w.arena.usage().blocks;
    for (u64 i = 0; i < 5; ++i) CHECK(e.view().channel().try_put(block_message(w, i, 2, 1000)) == Sent::ok);
    CHECK(!e.view().is_gone(kReceives));
    e.view().let_go(kReceives, w.seg.me);
    CHECK(e.view().is_gone(kReceives));
    CHECK(!e.view().is_gone(kSends));
    CHECK_EQ(w.arena.usage().blocks, before);
    e.end();
}

TEST(pins_keep_a_side) {
    World w;
    Ends e(w);
    pin_handle(w.seg, w.arena, e.offset | kSends);
    e.view().let_go(kSends, w.seg.me);
    CHECK(!e.view().is_gone(kSends));
    CHECK(e.receive() == Receive::empty);
    unpin_handle(w.seg, w.arena, e.offset | kSends);
    CHECK(e.view().is_gone(kSends));
    CHECK(e.receive() == Receive::ended);
    e.end();
    CHECK_EQ(w.arena.usage().blocks, 0);
}

// In a message that is given up; damaged bytes that name a side of what has none.
TEST(handles_in_a_message) {
    World w;
    Ends e(w);
    Channel& plain = w.channel(0);
    const auto message_with = [&](u64 handle) {
        Message m{};
        m.root = w.arena.take(Root::bytes_for(10, 0, 1));
        Root& root = root_of(w.arena, m.root);
        root = {10, 0, 1};
        root.handle()[0] = handle;
        w.arena.set(m.root, BlockState::root);
        return m;
    };
    pin_handle(w.seg, w.arena, e.offset | kSends);
    const Message m = message_with(e.offset | kSends);
    e.view().let_go(kSends, w.seg.me);
    CHECK(e.receive() == Receive::empty);
    give_back_blocks(w.seg, w.arena, m, w.seg.me);
    CHECK(e.receive() == Receive::ended);
    pin(plain.object);
    give_back_blocks(w.seg, w.arena, message_with(w.seg.offset_of(&plain) | kSends), w.seg.me);
    CHECK(is_held(plain.object));
    e.end();
    w.drop(plain.object);
    CHECK_EQ(w.arena.usage().blocks, 0);
}

// A side goes round by pin, hold and unpin while everybody lets go as soon as it is passed on: it is never gone meanwhile.
TEST(passed_on_and_on) {
    World w;
    for (u32 round = 0; round < rounds(300); ++round) {
        Ends e(w);
        const u64 handle = e.offset | kSends;
        std::atomic<u32> holder{1};
        in_threads(4, [&](u32 me) {
            const Slot slot = static_cast<Slot>(me + 1);
            if (me == 3) {
                while (holder.load() != 31) {
                    CHECK(!e.view().is_gone(kSends) || holder.load() >= 30);
                    sched_yield();
                }
                return;
            }
            for (u32 i = me; i < 30; i += 3) {
                while (holder.load() != i + 1) sched_yield();
                if (i != 0) {
                    hold_handle(w.seg, w.arena, handle, slot);
                    unpin_handle(w.seg, w.arena, handle);
                }
                if (i != 29) {
                    pin_handle(w.seg, w.arena, handle);
                    e.view().let_go(kSends, slot);
                }
                holder.store(i + 2);
                if (i == 29) e.view().let_go(kSends, slot);
            }
        });
        CHECK(e.receive() == Receive::ended);
        e.end();
    }
    CHECK_EQ(w.arena.usage().blocks, 0);
}

TEST(everybody_who_waits_sees_the_end) {
    World w;
    for (u32 round = 0; round < rounds(500); ++round) {
        Ends e(w);
        std::atomic<u32> items{0}, ended{0};
        in_threads(4, [&](u32 me) {
            if (me == 0) {
                for (u32 i = 0; i < round % 5; ++i) CHECK(e.send(i));
                e.view().let_go(kSends, w.seg.me);
                return;
            }
            for (Message m;;) {
                if (wait_here(e, m) == Receive::ended) break;
                items.fetch_add(1);
            }
            ended.fetch_add(1);
        });
        CHECK_EQ(items.load(), round % 5);
        CHECK_EQ(ended.load(), 3);
        e.end();
    }
}

TEST(survives_kill_of_who_sends) {
    World w;
    w.seg.header().usable_cpus = 0;
    Ends e(w);
    Gate& held = shared<Gate>();
    const pid_t pid = start_holder(e, kSends, held);
    e.view().let_go(kSends, w.seg.me);
    CHECK(e.receive() == Receive::empty);
    std::thread waiter([&] {
        Message m;
        CHECK(wait_here(e, m) == Receive::ended);
    });
    while ((e.channel().items.word.load() & kSleepers) == 0) sched_yield();
    kill(pid, SIGKILL);
    reap(pid);
    w.settle(pid);
    waiter.join();
    e.end();
    CHECK_EQ(w.arena.usage().blocks, 0);
}

TEST(survives_kill_of_who_receives) {
    World w;
    Ends e(w);
    const u64 before = w.arena.usage().blocks;
    Gate& held = shared<Gate>();
    const pid_t pid = start_holder(e, kReceives, held);
    e.view().let_go(kReceives, w.seg.me);
    CHECK(!e.view().is_gone(kReceives));
    CHECK(e.view().channel().try_put(block_message(w, 1, 2, 1000)) == Sent::ok);
    kill(pid, SIGKILL);
    reap(pid);
    CHECK(e.view().is_gone(kReceives));  // before anybody has settled it
    w.settle(pid);
    CHECK(e.view().is_gone(kReceives));
    CHECK_EQ(w.arena.usage().blocks, before);
    e.end();
}

// Nobody sends any more, but a death may yet bring an item: the end comes after it.
TEST(the_end_waits_for_deaths_to_be_settled) {
    World w;
    for (const CellState state : {CellState::writing, CellState::committing, CellState::reading}) {
        Ends e(w);
        Cell& cell = w.seg.at<Ring>(e.channel().origin.load()).cell(0);
        if (state == CellState::reading) CHECK(e.send(7));
        const pid_t pid = start_and_die(w, [&] {
            const bool reads = state == CellState::reading;
            hold_handle(w.seg, w.arena, e.offset | (reads ? kReceives : kSends), w.seg.me);
            if (!reads) CHECK(e.send(7));
            cell.word.store(CellWord::make(0, state, w.seg.me).raw);
            die();
        });
        e.view().let_go(kSends, w.seg.me);
        CHECK(e.view().is_gone(kSends));
        CHECK(e.receive() == Receive::empty);
        CHECK(!e.view().can_receive());
        w.settle(pid);
        if (state != CellState::writing) CHECK(e.receive() == Receive::ok);
        CHECK(e.receive() == Receive::ended);
        e.end();
        CHECK_EQ(w.arena.usage().blocks, 0);
    }
}

// A fork is killed before it holds all that its parent holds.
TEST(survives_kill_of_who_holds_a_side_alone) {
    World w;
    Ends e(w);
    Gate& held = shared<Gate>();
    const pid_t pid = w.start([&] {
        hold_handle(w.seg, w.arena, e.offset | kSends, w.seg.me);
        clear_hold(e.channel().object, w.seg.me);
        held.open();
        for (;;) pause();
    });
    held.pass();
    e.view().let_go(kSends, w.seg.me);
    CHECK(e.receive() == Receive::empty);
    kill(pid, SIGKILL);
    reap(pid);
    w.settle(pid);
    CHECK(!is_held(e.view().side(kSends)));
    CHECK(e.receive() == Receive::ended);
    e.end();
    CHECK_EQ(w.arena.usage().blocks, 0);
}
