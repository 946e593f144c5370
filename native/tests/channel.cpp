// The channel: bounded it blocks, unbounded it grows; nothing is lost, and its end gives everything back.
#include "messages.hpp"

using namespace check;

namespace {

constexpr u32 kFirst = kFirstRing;

void put(World& w, Channel& c, const Message& m) {
    auto v = w.view(c);
    Sent sent = Sent::full;
    wait_in_time(w.seg, c.room, [&] { return (sent = v.try_put(m)) != Sent::full; }, [&] { return v.has_room(); });
    CHECK(sent == Sent::ok);
}
Message take(World& w, Channel& c) {
    auto v = w.view(c);
    Message m;
    wait_in_time(w.seg, c.items, [&] { return v.try_take(m); }, [&] { return v.has_item(); });
    return m;
}
bool is_empty(World& w, Channel& c) {
    Message m;
    return !w.view(c).has_item() && !w.view(c).try_take(m) && w.view(c).length() == 0;
}

void traffic(u64 bound, u32 producers, u32 consumers, u32 each, u32 with_blocks) {
    World w;
    Channel& c = w.channel(bound);
    std::vector<std::atomic<u8>> arrived(producers * each);
    const u64 total = u64{producers} * each;
    in_threads(producers + consumers, [&](u32 me) {
        if (me < producers) {
            for (u32 i = 0; i < each; ++i) {
                const u64 a = u64{me} << 32 | i;
                put(w, c, i % 16 < with_blocks ? block_message(w, a, i % 3, 3000) : inline_message(a));
            }
            return;
        }
        const u32 n = me - producers;
        std::vector<i64> last(producers, -1);
        for (u64 i = total * n / consumers; i < total * (n + 1) / consumers; ++i) {
            const Message m = take(w, c);
            m.root != 0 ? accept_blocks(w, m) : check_inline(m);
            const u32 from = static_cast<u32>(m.a >> 32), number = static_cast<u32>(m.a);
            CHECK_EQ(arrived[from * each + number].fetch_add(1), 0);
            // Between rings of a chain, too.
            CHECK(last[from] < i64{number});
            last[from] = number;
        }
    });
    for (const auto& a : arrived) CHECK_EQ(a.load(), 1);
    CHECK(is_empty(w, c));
    w.drop(c.object);
    CHECK_EQ(w.arena.usage().blocks, 0);
}

// Sets the first cell as a consumer does that is stopped in the middle, its head helped on.
void begin_reading(World& w, Ring& r) {
    const u64 h = r.head.load();
    r.cell(h & kPositionMask).word.store(CellWord::make(r.turn(h & kPositionMask), CellState::reading, w.seg.me).raw);
    r.head.store(h + 1);
}

}  // namespace

TEST(smoke) {
    for (const u64 bound : {0, 1, 2, 3}) {
        World w;
        Channel& c = w.channel(bound);
        CHECK(is_empty(w, c));
        put(w, c, inline_message(5));
        CHECK(w.view(c).has_item());
        CHECK_EQ(w.view(c).length(), 1);
        CHECK_EQ(take(w, c).a, 5);
        CHECK(is_empty(w, c));
        w.drop(c.object);
        CHECK_EQ(w.arena.usage().blocks, 0);
    }
}

TEST(capacity) {
    for (const u64 bound : {1, 2, 3, 64, 1000}) {
        World w;
        Channel& c = w.channel(bound);
        for (u64 i = 0; i < bound; ++i) CHECK(w.view(c).try_put(inline_message(i)) == Sent::ok);
        CHECK(!w.view(c).has_room());
        CHECK(w.view(c).try_put(inline_message(0)) == Sent::full);
        CHECK_EQ(take(w, c).a, 0);
        CHECK(w.view(c).has_room());
    }
}

TEST(wraps_around) {
    for (const u64 bound : {0, 1, 2, 3}) {
        World w;
        Channel& c = w.channel(bound);
        for (u64 i = 0; i < 5 * kFirst; ++i) {
            put(w, c, inline_message(i));
            CHECK_EQ(take(w, c).a, i);
        }
        CHECK_EQ(c.first.load(), c.origin.load());  // an unbounded one that never was full has not grown
    }
}

TEST(spsc) {
    for (const u64 bound : {0, 1, 2, 64}) traffic(bound, 1, 1, rounds(20'000), 0);
}

TEST(mpmc) {
    for (const u64 bound : {0, 1, 2, 64}) traffic(bound, 2, 2, rounds(10'000), 0);
}

TEST(each_item_once) {
    for (const u64 bound : {0, 3}) {
        traffic(bound, 3, 1, rounds(6'000), 4);
        traffic(bound, 1, 3, rounds(15'000), 4);
    }
}

TEST(grows) {
    World w;
    Channel& c = w.channel(0);
    constexpr u64 kItems = 100'000;
    for (u64 i = 0; i < kItems; ++i) CHECK(w.view(c).try_put(inline_message(i, 8)) == Sent::ok);
    CHECK_EQ(w.view(c).length(), kItems);
    for (u64 i = 0; i < kItems; ++i) {
        const Message m = take(w, c);
        CHECK_EQ(m.a, i);
        check_inline(m);
    }
    CHECK(is_empty(w, c));
    for (u64 i = 0; i < kItems; ++i) CHECK(w.view(c).try_put(inline_message(i, 8)) == Sent::ok);
    w.drop(c.object);
    CHECK_EQ(w.arena.usage().blocks, 0);
}

TEST(says_when_it_cannot_grow) {
    World w(3 << 20);  // room for some rings, not for the next
    Channel& c = w.channel(0);
    u64 in = 0;
    while (w.view(c).try_put(inline_message(in)) == Sent::ok) ++in;
    CHECK(in >= kFirst);
    CHECK(w.view(c).try_put(inline_message(in)) == Sent::no_memory);
    for (u64 i = 0; i < in; ++i) CHECK_EQ(take(w, c).a, i);
    CHECK(!w.view(c).has_item());
}

// A cell reserved for a ring that another producer linked first goes back.
TEST(grows_by_several_at_once) {
    for (u32 round = 0; round < rounds(200); ++round) {
        World w(4 << 20);
        Channel& c = w.channel(0);
        StartLine start;
        in_threads(3, [&](u32 me) {
            start.wait(3);
            for (u32 i = 0; i < kFirst; ++i) put(w, c, inline_message(u64{me} << 32 | i));
        });
        CHECK_EQ(w.view(c).length(), 3 * kFirst);
        CHECK_EQ(w.arena.usage().blocks, 3);  // the channel and two rings
        i64 last[3] = {-1, -1, -1};
        for (u32 i = 0; i < 3 * kFirst; ++i) {
            const u64 a = take(w, c).a;
            CHECK_EQ(static_cast<u32>(a), ++last[a >> 32]);
        }
    }
}

TEST(end_frees_messages) {
    for (const u64 bound : {0, 100}) {
        World w;
        Channel& c = w.channel(bound);
        for (u64 i = 0; i < 100; ++i) put(w, c, i % 2 == 0 ? block_message(w, i, 2, 10'000) : inline_message(i));
        CHECK_EQ(take(w, c).a, 0);
        CHECK(w.arena.usage().blocks > 100);
        w.drop(c.object);
        CHECK_EQ(w.arena.usage().blocks, 3);  // what take() above got is still ours
    }
}

TEST(end_is_no_task) {
    World w;
    Channel& c = w.channel(0);
    Message m = inline_message(7);
    m.flags = kIsTask;
    put(w, c, m);
    w.seg.participant(w.seg.me).task.store(3);
    w.drop(c.object);
    CHECK_EQ(w.seg.participant(w.seg.me).task.load(), 3);
}

// Closed, linked to the next and drained but for one cell that a consumer is slow with. Not the first cell: that one is
// looked at before the ring is left.
TEST(survives_kill_reading_in_a_ring_left_behind) {
    for (const bool recovered_late : {false, true}) {
        World w;
        Channel& c = w.channel(0);
        for (u64 i = 0; i <= kFirst; ++i) put(w, c, block_message(w, i, 1, 1000));
        accept_blocks(w, take(w, c));
        const pid_t dead = start_and_die(w, [&] {
            begin_reading(w, w.seg.at<Ring>(c.origin.load()));
            die();
        });
        Message m;
        u64 got = 1;
        const auto take_all = [&] {
            for (; w.view(c).try_take(m); ++got) accept_blocks(w, m);
        };
        if (recovered_late) take_all();
        w.settle(dead);
        take_all();
        CHECK_EQ(got, kFirst + 1);
        w.drop(c.object);
        CHECK_EQ(w.arena.usage().blocks, 0);
    }
}

// Killed between linking the ring and letting go of its block.
TEST(survives_kill_growing) {
    for (const bool linked : {false, true}) {
        World w;
        Channel& c = w.channel(0);
        for (u64 i = 0; i < kFirst; ++i) put(w, c, inline_message(i));
        const pid_t dead = start_and_die(w, [&] {
            put(w, c, inline_message(kFirst));
            Ring& first = w.seg.at<Ring>(c.origin.load());
            Ring& next = w.seg.at<Ring>(first.next.load());
            w.arena.set(next.head_of_block.block, BlockState::owned);
            c.last.store(c.origin.load());
            if (!linked) first.next.store(0), next.tail.store(0), next.cell(0).word.store(0);
            die();
        });
        w.settle(dead);
        CHECK_EQ(w.arena.usage().blocks, linked ? 3 : 2);
        put(w, c, inline_message(kFirst + 1));
        for (u64 i = 0; i < kFirst; ++i) CHECK_EQ(take(w, c).a, i);
        if (linked) CHECK_EQ(take(w, c).a, kFirst);
        CHECK_EQ(take(w, c).a, kFirst + 1);
        CHECK(is_empty(w, c));
    }
}

// A death leaves a tomb in the only cell; the producer that waits for the cell has to hear when it is free.
TEST(survives_kill_while_a_producer_waits) {
    World w;
    Channel& c = w.channel(1);
    const pid_t dead = start_and_die(w, [&] {
        Ring& r = w.seg.at<Ring>(c.origin.load());
        r.cell(0).word.store(CellWord::make(0, CellState::writing, w.seg.me).raw);
        r.tail.store(1);
        die();
    });
    std::thread producer([&] { put(w, c, inline_message(1)); });
    while ((c.room.word.load() & kSleepers) == 0) sched_yield();
    w.settle(dead);
    while (c.room.word.load() < 2) sched_yield();  // it has been woken; by now, or soon, it sleeps again
    for (u32 i = 0; i < 1000; ++i) sched_yield();
    Message m;
    while (!w.view(c).try_take(m)) sched_yield();
    CHECK_EQ(m.a, 1);
    producer.join();
}
