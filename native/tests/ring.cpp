// The ring: what is put is taken once and in order, whatever the capacity, the threads and the deaths.
#include "messages.hpp"

using namespace check;

namespace {

const u64 kCapacities[] = {1, 2, 3, 64};

void put(World& w, Ring& r, u64 a) { CHECK(w.view(r).put(inline_message(a)) == Put::ok); }
u64 take(World& w, Ring& r) {
    Message m;
    CHECK(w.view(r).take(m) == Take::ok);
    check_inline(m);
    return m.a;
}
bool is_empty(World& w, Ring& r) {
    Message m;
    return w.view(r).take(m) == Take::empty && !w.view(r).has_item();
}

// Every state a put goes through up to `last`, and then death. What ring.hpp does, in its own steps.
[[noreturn]] void die_putting(World& w, Ring& r, const Message& m, CellState last) {
    const u64 p = r.tail.load();
    Cell& cell = r.cell(p);
    CHECK_EQ(cell.word.load(), CellWord::make(r.turn(p), CellState::free).raw);
    cell.word.store(CellWord::make(r.turn(p), CellState::writing, w.seg.me).raw);
    if (last == CellState::writing) {
        cell.message.a = 666;
        die();  // before it helped the tail on, too
    }
    r.tail.store(p + 1);
    cell.message = m;
    cell.word.store(CellWord::make(r.turn(p), CellState::committing, w.seg.me).raw);
    die();
}

[[noreturn]] void die_reading(World& w, Ring& r, bool helped) {
    const u64 h = r.head.load();
    Cell& cell = r.cell(h & kPositionMask);
    CHECK(CellWord{cell.word.load()}.state() == CellState::ready);
    cell.word.store(CellWord::make(r.turn(h & kPositionMask), CellState::reading, w.seg.me).raw);
    if (helped) r.head.store(h + 1);
    die();
}

// Nobody sleeps here: on a busy machine every turn of a small ring costs a turn of the scheduler.
u32 items(u64 capacity) { return rounds(capacity < 64 ? 3'000 : 60'000); }

// `producers` and `consumers` as threads; each item must arrive once, and those of one producer in order at each consumer.
void traffic(u64 capacity, u32 producers, u32 consumers, u32 each) {
    World w;
    Ring& r = w.ring(capacity);
    std::vector<std::atomic<u8>> arrived(producers * each);
    std::atomic<u32> left{producers * each};
    in_threads(producers + consumers, [&](u32 me) {
        if (me < producers) {
            for (u32 i = 0; i < each; ++i) {
                const Message m = inline_message(u64{me} << 32 | i, i % kInline);
                while (w.view(r).put(m) == Put::full) sched_yield();
            }
            return;
        }
        std::vector<i64> last(producers, -1);
        Message m;
        while (left.load() != 0) {
            if (w.view(r).take(m) != Take::ok) {
                sched_yield();
                continue;
            }
            check_inline(m);
            const u32 from = static_cast<u32>(m.a >> 32), number = static_cast<u32>(m.a);
            CHECK_EQ(arrived[from * each + number].fetch_add(1), 0);
            CHECK(last[from] < i64{number});
            last[from] = number;
            left.fetch_sub(1);
        }
    });
    for (const auto& a : arrived) CHECK_EQ(a.load(), 1);
    CHECK(is_empty(w, r));
}

// The turn in a cell's word has 32 bits: a ring of one cell has used them up after an hour of traffic.
void around_the_last_turn(u64 capacity, bool hints_lag, bool recovers) {
    World w;
    Ring& r = w.ring(capacity);
    const u64 start = ((u64{1} << 32) - 2) * capacity;
    r.head.store(start);
    r.tail.store(start);
    for (u64 i = 0; i < capacity; ++i) r.cell(i).word.store(CellWord::make(r.turn(start), CellState::free).raw);
    for (u64 p = start; p < start + 5 * capacity; ++p) {
        put(w, r, p);
        if (hints_lag) r.tail.store(p);
        if (recovers) w.view(r).recover(Slot{7});
        if (!hints_lag) CHECK_EQ(w.view(r).length(), 1);
        CHECK_EQ(take(w, r), p);
        if (hints_lag) r.head.store(p);
        CHECK(w.view(r).has_room());
        CHECK(is_empty(w, r));
    }
}

}  // namespace

TEST(smoke) {
    World w;
    Ring& r = w.ring(4);
    CHECK(is_empty(w, r));
    put(w, r, 1);
    put(w, r, 2);
    CHECK(w.view(r).has_item());
    CHECK_EQ(w.view(r).length(), 2);
    CHECK_EQ(take(w, r), 1);
    CHECK_EQ(take(w, r), 2);
    CHECK(is_empty(w, r));
    CHECK_EQ(w.view(r).length(), 0);
}

TEST(every_size_of_body) {
    World w;
    Ring& r = w.ring(2);
    for (u32 size = 0; size <= kInline; ++size) {
        CHECK(w.view(r).put(inline_message(size + 1, size)) == Put::ok);
        Message m;
        CHECK(w.view(r).take(m) == Take::ok);
        CHECK_EQ(m.size, size);
        check_inline(m);
    }
}

TEST(capacity) {
    for (const u64 capacity : kCapacities) {
        World w;
        Ring& r = w.ring(capacity);
        for (u64 i = 0; i < capacity; ++i) {
            CHECK(w.view(r).has_room());
            put(w, r, i);
        }
        CHECK(!w.view(r).has_room());
        CHECK_EQ(w.view(r).length(), capacity);
        CHECK(w.view(r).put(inline_message(99)) == Put::full);
        CHECK_EQ(take(w, r), 0);
        put(w, r, capacity);
        CHECK(w.view(r).put(inline_message(99)) == Put::full);
        for (u64 i = 1; i <= capacity; ++i) CHECK_EQ(take(w, r), i);
        CHECK(is_empty(w, r));
    }
}

// Filled to every level, so that each of them once ends at each cell.
TEST(wraps_around) {
    for (const u64 capacity : kCapacities) {
        World w;
        Ring& r = w.ring(capacity);
        u64 in = 0, out = 0;
        for (u64 round = 0; round < 10 * capacity; ++round) {
            for (u64 i = 0; i <= round % capacity; ++i) put(w, r, in++);
            while (out < in) CHECK_EQ(take(w, r), out++);
            CHECK(is_empty(w, r));
        }
    }
}

TEST(turns_wrap_around) {
    for (const u64 capacity : {1, 2, 3}) around_the_last_turn(capacity, false, false);
}

// Whoever claimed a position and died left it to others to help the hint on.
TEST(turns_wrap_around_while_hints_lag) {
    for (const u64 capacity : {1, 2, 3}) around_the_last_turn(capacity, true, false);
}

TEST(turns_wrap_around_while_somebody_dies) {
    for (const u64 capacity : {1, 2, 3}) around_the_last_turn(capacity, false, true);
}

TEST(spsc) {
    for (const u64 capacity : kCapacities) traffic(capacity, 1, 1, items(capacity));
}

TEST(mpmc) {
    for (const u64 capacity : kCapacities) traffic(capacity, 2, 2, items(capacity) / 2);
}

TEST(each_item_once) {
    for (const u64 capacity : kCapacities) traffic(capacity, 3, 1, items(capacity) / 3);
    traffic(3, 1, 3, items(3));
}

TEST(blocks_change_hands) {
    World w;
    Ring& r = w.ring(3);
    const u64 before = w.arena.usage().blocks;
    for (u32 i = 0; i < 20; ++i) {
        const Message m = block_message(w, i, i % 4, 1000 * (i + 1));
        CHECK(w.view(r).put(m) == Put::ok);
        CHECK(w.arena.look(m.root).state() == BlockState::in_flight);
        Message got;
        CHECK(w.view(r).take(got) == Take::ok);
        CHECK_EQ(got.root, m.root);
        accept_blocks(w, got);
    }
    CHECK_EQ(w.arena.usage().blocks, before);
    for (u32 i = 0; i < 3; ++i) CHECK(w.view(r).put(block_message(w, i, i, 5000)) == Put::ok);
    w.view(r).discard();
    CHECK_EQ(w.arena.usage().blocks, before);
}

TEST(survives_kill_writing) {
    for (const u64 capacity : {2, 3}) {
        for (u64 start = 0; start < 2 * capacity; ++start) {
            World w;
            Ring& r = w.ring(capacity);
            for (u64 i = 0; i < start; ++i) put(w, r, i), take(w, r);
            const pid_t dead = start_and_die(w, [&] { die_putting(w, r, inline_message(7), CellState::writing); });
            put(w, r, 8);  // another producer is not held up, before or after
            w.settle(dead);
            CHECK_EQ(take(w, r), 8);
            CHECK(is_empty(w, r));
            for (u64 i = 0; i < 2 * capacity; ++i) put(w, r, i), CHECK_EQ(take(w, r), i);
        }
    }
}

// The cell of a ring of one is all the room there is: it must not stay a tomb until a consumer comes.
TEST(survives_kill_writing_the_only_cell) {
    World w;
    Ring& r = w.ring(1);
    w.settle(start_and_die(w, [&] { die_putting(w, r, inline_message(7), CellState::writing); }));
    CHECK(!w.view(r).has_item());
    put(w, r, 8);
    CHECK_EQ(take(w, r), 8);
}

TEST(survives_kill_committing) {
    World w;
    Ring& r = w.ring(3);
    const u64 before = w.arena.usage().blocks;
    put(w, r, 1);
    const pid_t dead = start_and_die(w, [&] {
        const Message m = block_message(w, 2, 3, 5000);
        w.arena.set(m.root, BlockState::in_flight);  // some of the blocks have been handed over, others not
        w.arena.take(70'000);                        // and this one has nothing to do with the message
        die_putting(w, r, m, CellState::committing);
    });
    put(w, r, 3);
    w.settle(dead);
    CHECK_EQ(w.arena.usage().blocks, before + 4);  // what is on its way is nobody's to free
    CHECK_EQ(take(w, r), 1);
    Message m;
    CHECK(w.view(r).take(m) == Take::ok);
    CHECK_EQ(m.a, 2);
    accept_blocks(w, m);
    CHECK_EQ(take(w, r), 3);
    CHECK(is_empty(w, r));
    CHECK_EQ(w.arena.usage().blocks, before);
}

TEST(survives_kill_reading) {
    for (const bool helped : {false, true}) {
        World w;
        Ring& r = w.ring(3);
        const u64 before = w.arena.usage().blocks;
        CHECK(w.view(r).put(block_message(w, 1, 2, 5000)) == Put::ok);
        put(w, r, 2);
        put(w, r, 3);
        const pid_t dead = start_and_die(w, [&] {
            w.arena.set(r.cell(0).message.root, BlockState::owned);
            die_reading(w, r, helped);
        });
        w.settle(dead);
        CHECK_EQ(w.arena.usage().blocks, before + 3);
        Message m;
        CHECK(w.view(r).take(m) == Take::ok);
        CHECK_EQ(m.a, 1);
        accept_blocks(w, m);
        CHECK_EQ(take(w, r), 2);
        CHECK_EQ(take(w, r), 3);
        CHECK_EQ(w.arena.usage().blocks, before);
    }
}

// A recovery that died between putting back and lowering the head: the next one, for another dead, finishes it.
TEST(survives_kill_of_the_recovery) {
    World w;
    Ring& r = w.ring(3);
    for (u64 i = 1; i <= 3; ++i) put(w, r, i);
    const pid_t reader = start_and_die(w, [&] { die_reading(w, r, true); });
    r.cell(0).word.store(CellWord::make(0, CellState::ready).raw);
    w.settle(start_and_die(w, [] { die(); }));
    for (u64 i = 1; i <= 3; ++i) CHECK_EQ(take(w, r), i);
    w.settle(reader);
    CHECK(is_empty(w, r));
    put(w, r, 4);
    CHECK_EQ(take(w, r), 4);
}
