// Memory goes back to the system when it is idle, and only then; nobody's bytes with it; whoever dies or trims as well.
#include <algorithm>

#include "check.hpp"

using namespace check;

namespace {

u64 memory_of(const World& w) { return backed_bytes(w.seg); }

// Blocks of this size, each filled with a byte of its own.
std::vector<BlockId> fill(World& w, u64 bytes, u32 n) {
    std::vector<BlockId> made;
    for (u32 i = 0; i < n; ++i) {
        made.push_back(w.arena.take(bytes));
        CHECK(made.back() != 0);
        std::memset(w.arena.data(made.back()), static_cast<int>(i % 255 + 1), bytes);
    }
    return made;
}

void check_whole(World& w, BlockId id, u64 bytes, u32 i) {
    const char* data = w.arena.data(id);
    for (u64 at = 0; at < bytes; ++at) CHECK_EQ(static_cast<u8>(data[at]), i % 255 + 1);
}

// As if the blocks that are free had been noticed so many seconds ago.
void age(World& w, u32 seconds) {
    for (BlockId id = kBlocksPerExtent; id < w.arena.extents_used() * kBlocksPerExtent; ++id) {
        if (!w.arena.exists(id) || w.arena.look(id).state() != BlockState::free || w.arena.look(id).owner() == 0) continue;
        const u32 then = (second_now() + 0xffff - seconds - 1) % 0xffff + 1;
        w.arena.word_of(id).store(w.arena.look(id).with(BlockState::free, static_cast<Slot>(then)).raw);
    }
}

constexpr u64 kSizes[] = {256, 320, 1000, 5000, 10'000, 100'000, 1 << 20, 5 << 20};

}  // namespace

TEST(all_sizes) {
    World w;
    for (const u64 bytes : kSizes) {
        const u32 n = bytes < kGiveBackFrom ? 200 : 3;
        const u64 before = memory_of(w);
        const std::vector<BlockId> blocks = fill(w, bytes, n);
        CHECK(memory_of(w) >= before + n * bytes / 2);
        for (const BlockId id : blocks) w.arena.give_back(id);
        const u64 given = Trim(w.arena, 0).run(kUnlimited);
        CHECK(given >= n * bytes - n * bytes / 8);
        CHECK(memory_of(w) <= before + 8 * kPage);  // the tables stay
        CHECK_EQ(Trim(w.arena, 0).run(kUnlimited), 0);  // and there is no end to that
        for (const BlockId id : fill(w, bytes, n)) w.arena.give_back(id);
    }
    CHECK_EQ(w.arena.usage().blocks, 0);
}

// What is in use stays whole, also where it shares pages with what goes.
TEST(only_what_is_free) {
    World w;
    Random random(7);
    for (const u64 bytes : kSizes) {
        const u32 n = bytes < kGiveBackFrom ? 500 : 4;
        std::vector<BlockId> blocks = fill(w, bytes, n);
        std::vector<bool> kept;
        for (u32 i = 0; i < n; ++i) {
            kept.push_back(random.below(4) == 0);
            if (!kept.back()) w.arena.give_back(blocks[i]);
        }
        Trim(w.arena, 0).run(kUnlimited);
        CHECK_EQ(Trim(w.arena, 0).run(kUnlimited), 0);
        for (u32 i = 0; i < n; ++i) {
            if (kept[i]) check_whole(w, blocks[i], bytes, i);
        }
        // What is cold reads as zeros.
        for (u32 i = 0; i < n; ++i) {
            if (kept[i]) continue;
            const BlockId id = w.arena.take(bytes);
            if (w.arena.untouched(id)) CHECK(std::all_of(w.arena.data(id), w.arena.data(id) + bytes, [](char c) { return c == 0; }));
        }
    }
}

TEST(only_what_is_idle) {
    World w;
    std::vector<BlockId> blocks = fill(w, 100'000, 20);
    for (const BlockId id : blocks) w.arena.give_back(id);
    const u64 full = memory_of(w);
    CHECK_EQ(Trim(w.arena, 5).run(kUnlimited), 0);  // noticed
    age(w, 4);
    CHECK_EQ(Trim(w.arena, 5).run(kUnlimited), 0);
    age(w, 5);
    const BlockId used = w.arena.take(100'000);  // the lowest; used meanwhile, its time begins anew
    w.arena.give_back(used);
    const u64 size = w.arena.size(used);
    CHECK_EQ(Trim(w.arena, 5).run(kUnlimited), 19 * size);
    CHECK_EQ(memory_of(w), full - 19 * 102'400);
    age(w, 5);
    CHECK_EQ(Trim(w.arena, 5).run(kUnlimited), size);
}

TEST(the_second_comes_round) {
    CHECK_EQ(seconds_between(1, 1), 0);
    CHECK_EQ(seconds_between(0xffff, 1), 1);
    CHECK_EQ(seconds_between(0xfffe, 3), 4);
    CHECK(second_now() != 0);
}

TEST(not_too_much_at_once) {
    World w;
    for (const BlockId id : fill(w, 4 << 20, 8)) w.arena.give_back(id);
    CHECK_EQ(w.seg.header().warm_bytes.load(), 32 << 20);
    CHECK_EQ(Trim(w.arena, 0).run(10 << 20), 12 << 20);
    CHECK_EQ(w.seg.header().warm_bytes.load(), 20 << 20);
    CHECK_EQ(Trim(w.arena, 0).run(kUnlimited), 20 << 20);
    CHECK_EQ(w.seg.header().warm_bytes.load(), 0);
}

// In the whole program once a second, and only where the segment was made so.
TEST(tend) {
    World w;
    for (const BlockId id : fill(w, 4 << 20, 3)) w.arena.give_back(id);
    Header& h = w.seg.header();
    tend(w.arena);
    CHECK_EQ(h.tended.load(), 0);
    h.idle_seconds = 5;
    tend(w.arena);
    CHECK(h.tended.load() != 0);
    age(w, 6);
    tend(w.arena);
    CHECK_EQ(h.warm_bytes.load(), 12 << 20);  // it was looked at just now
    h.tended.store(now_ns() - 2 * kLooksApart);
    tend(w.arena);
    CHECK_EQ(h.warm_bytes.load(), 0);
}

// Whoever gives much back looks, without being asked.
TEST(giving_back_tends) {
    World w;
    const std::vector<BlockId> blocks = fill(w, 100'000, 100);
    for (const BlockId id : blocks) w.arena.give_back(id);
    Trim(w.arena, 5).run(kUnlimited);
    age(w, 9);
    w.seg.header().idle_seconds = 5;
    const BlockId other = w.arena.take(300);
    const u64 before = memory_of(w);
    for (u32 i = 0; i < kGivenUnseen; ++i) {
        w.arena.give_back(other);
        CHECK_EQ(w.arena.take(300), other);
    }
    CHECK(memory_of(w) < before - 90 * 100'000);
}

// Where addresses are missing, memory would not help.
TEST(not_for_want_of_addresses) {
    World w;
    for (const BlockId id : fill(w, 4 << 20, 8)) w.arena.give_back(id);
    CHECK_EQ(w.arena.take(512 << 20), 0);
    CHECK_EQ(w.seg.header().warm_bytes.load(), 32 << 20);
}

// Without addresses for more, free blocks up to twice the size serve.
TEST(larger_ones_serve) {
    World w(16 << 20);
    const std::vector<BlockId> blocks = fill(w, 4 << 20, 4);
    CHECK_EQ(w.arena.take(1 << 20), 0);
    w.arena.give_back(blocks[2]);
    CHECK_EQ(w.arena.take(1 << 20), 0);
    CHECK_EQ(w.arena.take(2 << 20), blocks[2]);
}

// Everybody takes, fills, gives back and trims at once: nobody's bytes change.
TEST(while_others_use) {
    World w(512 << 20, 8 << 20);
    std::atomic<u64> given{0};
    in_threads(4, [&](u32 me) {
        Random random(me + 3);
        std::vector<std::pair<BlockId, u64>> mine;
        for (u32 i = 0; i < rounds(20'000); ++i) {
            if (i % 50 == 49) given.fetch_add(Trim(w.arena, 0).run(kUnlimited));
            if (mine.size() == 8 || (!mine.empty() && random.below(2) == 0)) {
                std::swap(mine[random.below(mine.size())], mine.back());
                const auto [id, bytes] = mine.back();
                const char* data = w.arena.data(id);
                CHECK(data[0] == static_cast<char>(me + 1) && data[bytes - 1] == data[0] && data[bytes / 2] == data[0]);
                w.arena.give_back(id);
                mine.pop_back();
                continue;
            }
            const u64 bytes = kSizes[random.below(i % 64 == 0 ? 8 : 6)];
            const BlockId id = w.arena.take(bytes);
            CHECK(id != 0);
            if (w.arena.untouched(id)) CHECK(w.arena.data(id)[0] == 0 && w.arena.data(id)[bytes - 1] == 0);
            std::memset(w.arena.data(id), static_cast<int>(me + 1), bytes);
            mine.emplace_back(id, bytes);
        }
        for (const auto& [id, bytes] : mine) w.arena.give_back(id);
    });
    CHECK(given.load() > 0);
    CHECK_EQ(w.arena.usage().blocks, 0);
    Trim(w.arena, 0).run(kUnlimited);
    CHECK_EQ(w.seg.header().warm_bytes.load(), 0);
    // No free block was forgotten: as many as there are can be taken without a new extent.
    const u32 extents = w.arena.extents_used();
    for (const u64 bytes : kSizes) {
        u64 free = 0;
        for (BlockId id = kBlocksPerExtent; id < extents * kBlocksPerExtent; ++id)
            free += w.arena.exists(id) && w.arena.size(id) == class_bytes(class_for(bytes));
        for (; free != 0; --free) CHECK(w.arena.take_sparse(bytes) != 0);
        CHECK_EQ(w.arena.extents_used(), extents);
    }
}

// Killed anywhere in it, by the hundred: what it had claimed comes back.
TEST(survives_kill) {
    World w(512 << 20, 64 << 20);
    std::vector<BlockId> kept = fill(w, 10'000, 64);
    for (u32 round = 0; round < 40; ++round) {
        Random random(round);
        const pid_t victim = w.start([&] {
            for (;;) {
                for (const u64 bytes : kSizes) {
                    for (const BlockId id : fill(w, bytes, bytes < 100'000 ? 100 : 2)) w.arena.give_back(id);
                }
                Trim(w.arena, 0).run(kUnlimited);
            }
        });
        timespec nap{0, static_cast<long>(1'000'000 + random.below(20'000'000))};
        nanosleep(&nap, nullptr);
        kill(victim, SIGKILL);
        CHECK(was_killed(reap(victim)));
        w.settle(victim);
        CHECK_EQ(w.arena.usage().blocks, 64);
        u64 warm = 0;
        for (BlockId id = kBlocksPerExtent; id < w.arena.extents_used() * kBlocksPerExtent; ++id) {
            if (!w.arena.exists(id) || w.arena.look(id).state() != BlockState::free) continue;
            if (w.arena.size(id) >= kGiveBackFrom && !w.arena.look(id).cold()) warm += w.arena.size(id);
        }
        CHECK_EQ(w.seg.header().warm_bytes.load(), warm);
        for (u32 i = 0; i < 64; ++i) check_whole(w, kept[i], 10'000, i);
    }
}

// A recovery may set the number while others count: below 0, memory is still kept.
TEST(counted_too_low) {
    World w;
    w.seg.header().warm_bytes.store(0 - u64{64 << 20});
    const BlockId id = w.arena.take(kGiveBackFrom);
    w.arena.give_back(id);
    CHECK(!w.arena.look(id).cold());
}
