// Recovery as a whole: processes die again and again, and what they shared stays right.
#include "messages.hpp"

using namespace check;

namespace {

constexpr u32 kProcesses = 2'000;
constexpr u32 kEach = 8'192;

// What the storm counts with. Item `n` of process `i` has the number (i + 1) << 32 | n: never 0, so that it can be the task
// that a process is at. That is how a consumer killed with an item in its hands has to tell which one it was.
struct Board {
    std::atomic<u32> no_more_puts, no_more_items;
    std::atomic<u32> committed[kProcesses];
    std::atomic<u8> arrived[kProcesses][kEach];

    std::atomic<u8>& at(u64 a) { return arrived[(a >> 32) - 1][static_cast<u32>(a)]; }
};

class Storm {
public:
    explicit Storm(u64 bound) : channel_(w_.channel(bound)), random_(bound + 1) {
        for (u32 i = 0; i < 2; ++i) producers_.push_back(start_producer());
        for (u32 i = 0; i < 2; ++i) consumers_.push_back(start_consumer());
    }

    void rage(i64 ns) {
        const i64 end = now_ns() + ns;
        while (now_ns() < end && next_ + 1 < kProcesses) {
            // Time for some hundred puts and takes, so that deaths fall anywhere in them.
            const i64 strike = now_ns() + static_cast<i64>(random_.below(300'000));
            while (now_ns() < strike) sched_yield();
            std::vector<pid_t>& side = random_.below(2) == 0 ? producers_ : consumers_;
            pid_t& victim = side[random_.below(side.size())];
            kill(victim, SIGKILL);
            bury(victim);
            victim = &side == &producers_ ? start_producer() : start_consumer();
        }
    }

    void calm_down_and_check() {
        board_.no_more_puts.store(1);
        disturb(channel_.room, w_.seg);
        for (const pid_t pid : producers_) bury(pid);
        while (w_.view(channel_).has_item()) sched_yield();
        board_.no_more_items.store(1);
        disturb(channel_.items, w_.seg);
        for (const pid_t pid : consumers_) bury(pid);
        CHECK_EQ(w_.view(channel_).length(), 0);
        for (u32 i = 0; i < next_; ++i) {
            const u32 n = board_.committed[i].load();
            for (u32 k = 0; k < n; ++k) CHECK_EQ(board_.arrived[i][k].load(), 1);
            if (n < kEach) CHECK(board_.arrived[i][n].load() <= 1);  // killed before it could count it
            for (u32 k = n + 1; k < kEach; ++k) CHECK_EQ(board_.arrived[i][k].load(), 0);
        }
        w_.drop(channel_.object);
        CHECK_EQ(w_.arena.usage().blocks, 0);
        CHECK_EQ(w_.seg.runnable(), 1);
    }

private:
    pid_t start_producer() {
        const u32 id = next_++;
        return w_.start([&] {
            for (u32 n = 0; n < kEach; ++n) {
                const u64 a = u64{id + 1} << 32 | n;
                Message m = n % 4 == 0 ? block_message(w_, a, n % 3, 600) : inline_message(a);
                m.flags = kIsTask;
                if (!put(m)) return;
                board_.committed[id].store(n + 1);
                // Without a bound only the memory is one.
                while (w_.view(channel_).length() > 3'000 && board_.no_more_puts.load() == 0) sched_yield();
            }
        });
    }

    pid_t start_consumer() {
        return w_.start([&] {
            auto v = w_.view(channel_);
            Message m;
            for (;;) {
                bool got = false;
                wait_in_time(w_.seg, channel_.items,
                             [&] { return (got = v.try_take(m)) || board_.no_more_items.load() != 0; },
                             [&] { return v.has_item(); });
                if (!got) return;
                m.root != 0 ? accept_blocks(w_, m) : check_inline(m);
                board_.at(m.a).fetch_add(1);
                w_.seg.participant(w_.seg.me).task.store(0);
            }
        });
    }

    bool put(const Message& m) {
        auto v = w_.view(channel_);
        Sent sent = Sent::full;
        wait_in_time(w_.seg, channel_.room,
                     [&] { return board_.no_more_puts.load() != 0 || (sent = v.try_put(m)) != Sent::full; },
                     [&] { return v.has_room(); });
        CHECK(sent != Sent::no_memory);
        return sent == Sent::ok;
    }

    void bury(pid_t pid) {
        const int status = reap(pid);
        CHECK(was_killed(status) || went_well(status));
        const u64 task = w_.settle(pid).task;
        if (task != 0 && board_.at(task).load() == 0) board_.at(task).store(1);
    }

    World w_;
    Channel& channel_;
    Board& board_ = shared<Board>();
    Random random_;
    u32 next_ = 0;
    std::vector<pid_t> producers_, consumers_;
};

void storm(u64 bound, u32 times, i64 ms) {
    for (u32 i = 0; i < times; ++i) {
        Storm s(bound);
        s.rage(ms * 1'000'000);
        s.calm_down_and_check();
    }
}

}  // namespace

TEST(storm_on_one_cell) { storm(1, 1, 500); }
TEST(storm_on_three_cells) { storm(3, 1, 500); }
TEST(storm_on_many_cells) { storm(500, 1, 400); }
// Again and again from the start: a chain grows when it is young.
TEST(storm_without_bound) { storm(0, 8, 80); }

// One that took a task and one that answered it, each killed at the point where it counts.
TEST(says_what_the_dead_was_at) {
    World w;
    Channel& tasks = w.channel(0);
    Channel& answers = w.channel(0);
    Message m = inline_message(42);
    m.flags = kIsTask;
    for (int i = 0; i < 4; ++i) CHECK(w.view(tasks).try_put(m) == Sent::ok);
    const auto begin = [&] {
        w.seg.participant(w.seg.me).crew.store(w.seg.offset_of(&answers));
        Message got;
        CHECK(w.view(tasks).try_take(got));
        w.seg.participant(w.seg.me).item.store(3);
    };
    LastWords words = w.settle(start_and_die(w, [&] {
        begin();
        die();
    }));
    CHECK_EQ(words.task, 42);
    CHECK_EQ(words.item, 3);
    CHECK_EQ(words.ran, -1);  // when that item began is not known
    CHECK_EQ(words.crew, w.seg.offset_of(&answers));
    const auto mine = [&]() -> Participant& { return w.seg.participant(w.seg.me); };
    words = w.settle(start_and_die(w, [&] {
        begin();
        mine().item.store(0);
        mine().done.since.store(now_ns() - 5'000'000'000);
        die();
    }));
    CHECK(words.ran >= 5'000'000'000);
    words = w.settle(start_and_die(w, [&] {
        begin();
        begin_timed(mine(), now_ns() - 7'000'000'000, 60'000'000'000);
        die();
    }));
    CHECK_EQ(words.item, 3);
    CHECK(words.ran >= 7'000'000'000);
    words = w.settle(start_and_die(w, [&] {
        begin();
        Message answer = inline_message(42);
        answer.flags = kAnswersTask;
        CHECK(w.view(answers).try_put(answer) == Sent::ok);
        die();
    }));
    CHECK_EQ(words.task, 0);
    CHECK_EQ(w.view(answers).length(), 1);
}

// The recovery of one ends what others are using, or about to end, at the same time.
TEST(while_others_end_theirs) {
    World w;
    std::atomic<bool> done{false};
    const Slot nobody = 900;
    in_threads(2, [&](u32 me) {
        for (u32 i = 0; me == 0 && i < rounds(3'000); ++i) {
            Channel& c = w.channel(i % 3);
            CHECK(w.view(c).try_put(block_message(w, i, 1, 300)) == Sent::ok);
            w.drop(c.object);
        }
        while (me == 1 && !done.load()) recover(w.seg, w.arena, nobody, [](const LastWords&) {});
        done.store(true);
    });
    CHECK_EQ(w.arena.usage().blocks, 0);
}

// A participant that died while nobody looked is found by its pid, also among many.
TEST(many_deaths_at_once) {
    World w;
    Channel& c = w.channel(0);
    std::vector<pid_t> all;
    for (u32 i = 0; i < 30; ++i) {
        all.push_back(start_and_die(w, [&] {
            hold(c.object, w.seg.me);
            CHECK(w.view(c).try_put(block_message(w, i, 1, 300)) == Sent::ok);
            w.arena.take(1'000);
            die();
        }));
    }
    for (const pid_t pid : all) w.settle(pid);
    for (u32 i = 0; i < 30; ++i) {
        Message m;
        CHECK(w.view(c).try_take(m));
        CHECK_EQ(m.a, i);
        accept_blocks(w, m);
    }
    w.drop(c.object);
    CHECK_EQ(w.arena.usage().blocks, 0);
}
