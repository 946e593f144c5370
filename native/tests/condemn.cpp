// Ending a worker for a task or for an item that takes too long: exactly that one, never one that has ended or comes after.
#include "allcores/condemn.hpp"

#include "check.hpp"

using namespace check;

namespace {

constexpr i64 kAlways = 1;  // a limit that is over at once

struct Counts {
    std::atomic<u64> begun;
    std::atomic<u64> ended;
};

// A worker that does items, each of which is over its time at once, until one of them is condemned. Some end while who
// condemns them looks; if all were as short as that look, none would be there when it is over.
void do_items(World& w, Counts& counts) {
    Participant& me = w.seg.participant(w.seg.me);
    Random random{w.seg.me};
    for (;;) {
        counts.begun.fetch_add(1);
        begin_timed(me, now_ns() - 10, kAlways);
        for (u64 n = random.below(5000); n > 0; --n) std::atomic_signal_fence(std::memory_order_seq_cst);
        end_timed(me);
        counts.ended.fetch_add(1);
    }
}

Participant* participant_of(World& w, pid_t pid) {
    const Slot slot = slot_of(w.seg, static_cast<u32>(pid));
    return slot == 0 ? nullptr : &w.seg.participant(slot);
}

void kill_and_settle(World& w, pid_t pid) {
    kill(pid, SIGKILL);
    CHECK(was_killed(reap(pid)));
    w.settle(pid);
}

}  // namespace

TEST(an_item_is_condemned_once_it_is_over_its_time) {
    World w;
    Participant& me = w.seg.participant(w.seg.me);
    CHECK(!condemn_if_overdue(me, 0, now_ns()).condemned);  // none runs
    begin_timed(me, 100, 50);
    CHECK_EQ(condemn_if_overdue(me, 0, 149).until, 150);
    CHECK(!condemn_if_overdue(me, 7, 200).condemned);  // it works for another crew
    const Timed timed = condemn_if_overdue(me, 0, 160);
    CHECK(timed.condemned);
    CHECK_EQ(timed.ran, 60);
    CHECK_EQ(timed.limit, 50);
    CHECK(!condemn_if_overdue(me, 0, 170).condemned);  // it is already
    CHECK_EQ(condemn_if_overdue(me, 0, 170).until, 0);
}

TEST(a_limit_beyond_all_time) {
    World w;
    Participant& me = w.seg.participant(w.seg.me);
    begin_timed(me, now_ns(), INT64_MAX);
    CHECK(!condemn_if_overdue(me, 0, now_ns()).condemned);
    CHECK_EQ(condemn_if_overdue(me, 0, now_ns()).until, INT64_MAX);
}

TEST(a_condemned_item_never_ends) {
    World w;
    u64 before = 0;  // items of those who had the slot before
    for (u32 round = 0; round < rounds(40); ++round) {
        Counts& counts = shared<Counts>();
        const pid_t pid = w.start([&] { do_items(w, counts); });
        Participant* p = nullptr;
        while (p == nullptr || !condemn_if_overdue(*p, 0, now_ns()).condemned) p = participant_of(w, pid);
        const u64 item = (p->run.load() >> 2) - before;
        for (int i = 0; i < 50; ++i) sched_yield();
        CHECK_EQ(counts.begun.load(), item);      // none after it
        CHECK_EQ(counts.ended.load(), item - 1);  // nor has it ended
        before += item;
        kill_and_settle(w, pid);
    }
}

TEST(a_task_is_condemned_only_while_it_is_that) {
    World w;
    Participant& me = w.seg.participant(w.seg.me);
    me.task.store(7);
    CHECK(!condemn_task(me, 8));
    me.given_up.store(7);
    CHECK(condemn_task(me, 7));
    CHECK(!condemn_task(me, 7));
    CHECK(me.is_given_up());  // it begins no other item
    CHECK_EQ(task_of(me.task.load()), 7);
    CHECK_EQ(task_of(~u64{0}), ~u64{0});
}

// A worker answers task after task, another condemns it at any moment: the answer of the condemned task may come, none after it.
TEST(no_answer_after_that_of_a_condemned_task) {
    World w;
    for (u32 round = 0; round < rounds(40); ++round) {
        Channel& answers = w.channel(0);
        const pid_t pid = w.start([&] {
            Participant& me = w.seg.participant(w.seg.me);
            for (u64 task = 1;; ++task) {
                me.task.store(task);
                Message m{};
                m.a = task;
                m.flags = kAnswersTask;
                CHECK(w.view(answers).try_put(m) == Sent::ok);
            }
        });
        Participant* p = nullptr;
        u64 condemned = 0;
        while (condemned == 0) {
            p = participant_of(w, pid);
            const u64 task = p == nullptr ? 0 : p->task.load();
            if (task != 0 && condemn_task(*p, task)) condemned = task;
        }
        for (int i = 0; i < 50; ++i) sched_yield();
        kill(pid, SIGKILL);
        CHECK(was_killed(reap(pid)));
        CHECK_EQ(w.settle(pid).task, condemned);
        Message m;
        u64 last = 0;
        while (w.view(answers).try_take(m)) last = m.a;
        CHECK(last == condemned || last == condemned - 1);
        w.drop(answers.object);
    }
}

// Killed as it takes the task that it is condemned for: nobody else gets that one.
TEST(a_task_that_was_condemned_in_its_taking_is_gone) {
    World w;
    Channel& tasks = w.channel(0);
    for (u64 task = 1; task <= 2; ++task) {
        Message m{};
        m.a = task;
        m.flags = kIsTask;
        CHECK(w.view(tasks).try_put(m) == Sent::ok);
    }
    Ring& ring = w.seg.at<Ring>(tasks.origin.load());
    const pid_t pid = start_and_die(w, [&] {  // as take() leaves it before it frees the cell
        ring.cell(0).word.store(CellWord::make(0, CellState::reading, w.seg.me).raw);
        ring.head.store(1);
        w.seg.participant(w.seg.me).task.store(1);
        CHECK(condemn_task(w.seg.participant(w.seg.me), 1));
        die();
    });
    CHECK_EQ(w.settle(pid).task, 1);
    Message m;
    CHECK(w.view(tasks).try_take(m));
    CHECK_EQ(m.a, 2);
    CHECK(!w.view(tasks).try_take(m));
}
