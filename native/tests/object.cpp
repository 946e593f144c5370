// Objects live as long as anybody holds them, and end once.
#include "messages.hpp"

using namespace check;

namespace {

Event& event(World& w) { return w.object<Event>(Kind::event); }
constexpr Slot kOthers[] = {2, 64, 65, kMaxParticipants};

}  // namespace

TEST(smoke) {
    World w;
    Object& o = event(w).object;
    CHECK(w.arena.look(o.head.block).state() == BlockState::object);
    CHECK(!w.is_last(o));
    CHECK(w.let_go(o, w.seg.me));
    CHECK(!w.let_go(o, w.seg.me));  // it has been ended
    end_object(w.seg, w.arena, o);
    CHECK_EQ(w.arena.usage().blocks, 0);
}

TEST(holders) {
    World w;
    Object& o = event(w).object;
    for (const Slot s : kOthers) hold(o, s);
    hold(o, kOthers[0]);  // twice is once
    CHECK(!w.let_go(o, w.seg.me));
    for (const Slot s : kOthers) CHECK(w.let_go(o, s) == (s == kMaxParticipants));
}

TEST(pins) {
    World w;
    Object& o = event(w).object;
    pin(o);
    pin(o);
    CHECK(!w.let_go(o, w.seg.me));
    unpin(o);
    CHECK(!w.is_last(o));
    // Received: held before the pin goes.
    hold(o, 9);
    unpin(o);
    CHECK(!w.is_last(o));
    CHECK(w.let_go(o, 9));
}

TEST(made_again_from_an_old_block) {
    World w;
    Event& first = event(w);
    pin(first.object);
    hold(first.object, 5);
    set(w.seg, first);
    w.arena.give_back(first.object.head.block);
    Event& second = event(w);
    CHECK(&first == &second);
    CHECK_EQ(second.is_set.load(), 0);
    CHECK(w.let_go(second.object, w.seg.me));
}

TEST(each_process_ends_it_once) {
    World w;
    constexpr u32 kProcesses = 3;
    constexpr u32 kRounds = 2'000;
    struct Board {
        StartLine barrier;
        std::atomic<u64> object;
        std::atomic<u32> ended[kRounds];
    };
    Board& board = shared<Board>();
    const auto play = [&](u32 me) {
        for (u32 round = 0; round < kRounds; ++round) {
            if (me == 0) board.object.store(w.seg.offset_of(&event(w)));
            board.barrier.wait(kProcesses);
            Object& o = w.seg.at<Object>(board.object.load());
            hold(o, w.seg.me);
            board.barrier.wait(kProcesses);
            if (w.let_go(o, w.seg.me)) {
                board.ended[round].fetch_add(1);
                end_object(w.seg, w.arena, o);
            }
            board.barrier.wait(kProcesses);
        }
    };
    std::vector<pid_t> others;
    for (u32 i = 1; i < kProcesses; ++i) others.push_back(w.start([&] { play(i); }));
    play(0);
    for (const pid_t pid : others) CHECK(went_well(reap(pid)));
    for (const auto& n : board.ended) CHECK_EQ(n.load(), 1);
    CHECK_EQ(w.arena.usage().blocks, 0);
}

// A handle goes round by pin, hold and unpin while everybody lets go as soon as it is passed on.
TEST(passed_on_and_on) {
    World w;
    for (u32 round = 0; round < rounds(300); ++round) {
        Object& o = event(w).object;
        std::atomic<u32> holder{1}, ended{0};
        in_threads(3, [&](u32 me) {
            const Slot slot = static_cast<Slot>(me + 1);
            for (u32 i = me; i < 30; i += 3) {
                while (holder.load() != i + 1) sched_yield();
                if (i != 0) {
                    hold(o, slot);
                    unpin(o);
                }
                if (i != 29) pin(o);
                if (i == 29) CHECK_EQ(ended.load(), 0);
                holder.store(i + 2);
                ended.fetch_add(w.let_go(o, slot));
            }
        });
        CHECK_EQ(ended.load(), 1);
        end_object(w.seg, w.arena, o);
    }
}

TEST(survives_kill) {
    World w;
    Object& kept = event(w).object;
    Object& gone = event(w).object;
    Channel& queue = w.channel(0);
    for (u32 i = 0; i < 5; ++i) CHECK(w.view(queue).try_put(block_message(w, i, 2, 1000)) == Sent::ok);
    Gate& held = shared<Gate>();
    const pid_t pid = w.start([&] {
        for (Object* o : {&kept, &gone, &queue.object}) hold(*o, w.seg.me);
        event(w);
        w.channel(3);
        held.open();
        for (;;) pause();
    });
    held.pass();
    CHECK(!w.let_go(gone, w.seg.me));
    CHECK(!w.let_go(queue.object, w.seg.me));
    const u64 before = w.arena.usage().blocks;
    kill(pid, SIGKILL);
    reap(pid);
    CHECK_EQ(w.arena.usage().blocks, before);
    w.settle(pid);
    CHECK_EQ(w.arena.usage().blocks, 1);
    CHECK(w.arena.look(kept.head.block).state() == BlockState::object);
    CHECK(w.let_go(kept, w.seg.me));
}
