// The arena: blocks fit, never overlap, are nobody's twice, and come back from the dead.
#include <algorithm>
#include <set>

#include "check.hpp"

using namespace check;

namespace {

// Memory the segment really uses.
u64 memory_of(const World& w) {
    struct stat st;
    CHECK(fstat(w.seg.fd, &st) == 0);
    return static_cast<u64>(st.st_blocks) * 512;
}

BlockId take(World& w, u64 bytes) {
    const BlockId id = w.arena.take(bytes);
    CHECK(id != 0);
    CHECK(w.arena.size(id) >= bytes);
    return id;
}

void check_class(u64 bytes) {
    const u32 c = class_for(bytes);
    CHECK(class_bytes(c) >= bytes);
    CHECK(c == 0 || class_bytes(c - 1) < bytes);  // no smaller one fits
    CHECK(bytes < kLeastBlock || class_bytes(c) <= bytes + bytes / 4 + 1);
}

}  // namespace

TEST(smoke) {
    World w;
    const BlockId a = take(w, 100), b = take(w, 100);
    CHECK(a != b);
    CHECK(w.arena.look(a).state() == BlockState::owned);
    CHECK_EQ(w.arena.look(a).owner(), w.seg.me);
    CHECK(w.arena.exists(a));
    CHECK(!w.arena.exists(0));
    CHECK_EQ(w.arena.usage().blocks, 2);
    CHECK_EQ(w.arena.usage().bytes, 2 * kLeastBlock);
    w.arena.give_back(a);
    w.arena.give_back(b);
    CHECK(w.arena.look(a).state() == BlockState::free);
    CHECK_EQ(w.arena.usage().blocks, 0);
    CHECK_EQ(w.arena.usage().bytes, 0);
}

TEST(classes_fit) {
    for (u64 bytes = 0; bytes <= rounds(1'000'000); ++bytes) check_class(bytes);
    for (u32 power = 8; power <= 36; ++power) {
        for (const u64 base : {u64{4}, u64{5}, u64{6}, u64{7}}) {
            const u64 at = (u64{1} << power) / 4 * base;
            for (const u64 bytes : {at - 1, at, at + 1}) check_class(bytes);
            CHECK_EQ(class_bytes(class_for(at)), at);
        }
    }
    CHECK(class_for(~u64{0}) >= kClasses);
    CHECK(class_for(u64{1} << 40) < class_for(u64{1} << 41));
}

TEST(capacity) {
    World w(8 << 20);
    CHECK_EQ(w.arena.take(~u64{0}), 0);
    CHECK_EQ(w.arena.take(16 << 20), 0);
    std::vector<BlockId> all;
    while (const BlockId id = w.arena.take(1 << 20)) all.push_back(id);
    CHECK_EQ(all.size(), 8);
    CHECK_EQ(w.arena.take(1 << 20), 0);
    w.arena.give_back(all[3]);
    CHECK_EQ(take(w, 1 << 20), all[3]);
}

// Who is refused may come again, for other sizes too: a refusal uses nothing up.
TEST(refusal_costs_nothing) {
    World w(512 << 20);
    const u32 most = kExtentsPerClass * kBlocksPerExtent;
    for (u32 i = 0; i < most; ++i) take(w, 1);
    const u32 extents = w.seg.header().extents_used.load();
    const u64 bytes = w.seg.header().next_byte.load();
    for (u32 i = 0; i < 10; ++i) {
        const BlockId id = w.arena.take(1);  // of a larger class, or none
        CHECK(id == 0 || w.arena.exists(id));
    }
    CHECK(w.seg.header().extents_used.load() <= extents + 1);
    CHECK(w.seg.header().next_byte.load() <= bytes + kExtentBytes);
}

TEST(reuses_the_block) {
    World w;
    for (const u64 bytes : {u64{1}, u64{300}, u64{5000}, kPopulateFrom, kGiveBackFrom, 3 * kGiveBackFrom}) {
        const BlockId id = take(w, bytes);
        const u64 memory = memory_of(w);
        for (u32 i = 0; i < 100; ++i) {
            w.arena.give_back(id);
            CHECK_EQ(take(w, bytes), id);
        }
        CHECK_EQ(memory_of(w), memory);
        w.arena.give_back(id);
    }
}

TEST(blocks_do_not_overlap) {
    World w;
    Random random(1);
    std::vector<std::pair<u64, u64>> taken;
    for (u32 i = 0; i < 3000; ++i) {
        const u64 bytes = 1 + random.below(u64{1} << (8 + random.below(11)));
        const BlockId id = w.arena.take_sparse(bytes);
        CHECK(id != 0);
        CHECK_EQ(w.arena.offset(id) % 64, 0);
        if (bytes >= 512) CHECK_EQ(w.arena.offset(id) % kCacheLine, 0);  // what has lines of its own is that large
        taken.emplace_back(w.arena.offset(id), w.arena.size(id));
    }
    std::sort(taken.begin(), taken.end());
    u64 end = kBlocksAt;
    for (const auto& [offset, size] : taken) {
        CHECK(offset >= end);
        end = offset + size;
    }
    CHECK(end <= w.seg.bytes);
}

TEST(each_block_once) {
    World w(128 << 20, 4 << 20);  // so warm a limit that large blocks do give their memory back meanwhile
    constexpr u64 kSizes[] = {1, 1, 320, 5000, 100'000, 2 << 20};
    in_threads(4, [&](u32 me) {
        Random random(me);
        std::vector<BlockId> mine;
        for (u32 i = 0; i < rounds(40'000); ++i) {
            if (mine.size() == 8 || (!mine.empty() && random.below(2) == 0)) {
                std::swap(mine[random.below(mine.size())], mine.back());
                u64& mark = *reinterpret_cast<u64*>(w.arena.data(mine.back()));
                CHECK_EQ(mark, me + 1);  // nobody else has it: a plain read, so that a sanitizer sees two owners
                mark = 0;
                w.arena.give_back(mine.back());
                mine.pop_back();
                continue;
            }
            const BlockId id = take(w, kSizes[random.below(i % 32 == 0 ? 6 : 5)]);
            u64& mark = *reinterpret_cast<u64*>(w.arena.data(id));
            CHECK_EQ(mark, 0);
            mark = me + 1;
            mine.push_back(id);
        }
        for (const BlockId id : mine) {
            *reinterpret_cast<u64*>(w.arena.data(id)) = 0;
            w.arena.give_back(id);
        }
    });
    CHECK_EQ(w.arena.usage().blocks, 0);
    // No free block was forgotten: as many as there are can be taken without a new extent.
    const u32 extents = w.seg.header().extents_used.load();
    for (const u64 bytes : std::set<u64>(std::begin(kSizes), std::end(kSizes))) {
        const u64 size = class_bytes(class_for(bytes));
        u64 free = 0;
        for (BlockId id = kBlocksPerExtent; id < extents * kBlocksPerExtent; ++id)
            free += w.arena.exists(id) && w.arena.size(id) == size;
        for (; free != 0; --free) CHECK(w.arena.take_sparse(bytes) != 0);
        CHECK_EQ(w.seg.header().extents_used.load(), extents);
    }
}

// The bookkeeping of others may be read at any time.
TEST(usage_while_it_grows) {
    World w;
    std::atomic<bool> done{false};
    StartLine start;
    in_threads(2, [&](u32 me) {
        start.wait(2);
        for (u32 i = 0; me == 0 && i < rounds(20'000); ++i) CHECK(w.arena.take_sparse(u64{256} << i % 8) != 0);
        while (me == 1 && !done.load()) {
            const Arena::Usage u = w.arena.usage();
            CHECK(u.bytes >= u.blocks * kLeastBlock);
        }
        done.store(true);
    });
    CHECK_EQ(w.arena.usage().blocks, rounds(20'000));
}

TEST(warm_limit) {
    constexpr u64 kSize = 4 << 20;
    World w(128 << 20, 2 * kSize);
    std::vector<BlockId> blocks;
    for (u32 i = 0; i < 6; ++i) {
        blocks.push_back(take(w, kSize));
        std::memset(w.arena.data(blocks.back()), 1, kSize);
    }
    const u64 full = memory_of(w);
    CHECK(full >= 6 * kSize);
    for (const BlockId id : blocks) w.arena.give_back(id);
    CHECK_EQ(memory_of(w), full - 4 * kSize);
    CHECK_EQ(w.seg.header().warm_bytes.load(), 2 * kSize);
    // What had its memory taken away has it again, zeroed, in every process that asks.
    for (u32 i = 0; i < 6; ++i) {
        const BlockId id = take(w, kSize);
        const bool cold = w.arena.untouched(id);
        CHECK_EQ(cold, w.arena.data(id)[kSize - 1] == 0);
        CHECK(std::find(blocks.begin(), blocks.end(), id) != blocks.end());
    }
    CHECK_EQ(memory_of(w), full);
    CHECK_EQ(w.seg.header().warm_bytes.load(), 0);
}

TEST(memory_comes_with_take_alone) {
    World w;
    const u64 before = memory_of(w);
    const BlockId sparse = w.arena.take_sparse(8 << 20);
    CHECK(memory_of(w) < before + (1 << 20));
    const BlockId whole = take(w, 8 << 20);
    CHECK(whole != sparse);
    CHECK(memory_of(w) >= before + (8 << 20));
}

TEST(survives_kill) {
    World w;
    const BlockId mine = take(w, 1000);
    std::vector<BlockId> sent{take(w, 1000), take(w, kGiveBackFrom)};
    for (const BlockId id : sent) w.arena.set(id, BlockState::in_flight);
    const pid_t dead = start_and_die(w, [&] {
        for (u32 i = 0; i < 100; ++i) take(w, 1000 * i);
        take(w, 2 * kGiveBackFrom);
        die();
    });
    CHECK_EQ(w.arena.usage().blocks, 104);
    w.settle(dead);
    CHECK_EQ(w.arena.usage().blocks, 3);
    CHECK_EQ(w.arena.look(mine).owner(), w.seg.me);
    for (const BlockId id : sent) CHECK(w.arena.look(id).state() == BlockState::in_flight);
    CHECK_EQ(w.seg.header().warm_bytes.load(), class_bytes(class_for(2 * kGiveBackFrom)));
    // They can be had again.
    const u32 extents = w.seg.header().extents_used.load();
    for (u32 i = 0; i < 100; ++i) take(w, 1000 * i);
    CHECK_EQ(w.seg.header().extents_used.load(), extents);
}

// Recovery sets the hints right: a block whose taker died before its claim is found again.
TEST(survives_kill_between_hint_and_claim) {
    World w;
    const BlockId id = take(w, 1000);
    w.arena.give_back(id);
    const pid_t dead = start_and_die(w, [&] {
        w.seg.at<Extent>(kExtentsAt + id / kBlocksPerExtent * sizeof(Extent)).free_hint.store(0);
        die();
    });
    w.settle(dead);
    CHECK_EQ(take(w, 1000), id);
}

// A death in the middle of giving memory back: nobody counts on pages that may be gone.
TEST(survives_kill_while_cooling) {
    World w(256 << 20, 0);
    const BlockId id = take(w, 4 << 20);
    const u32 generation = w.arena.look(id).generation();
    w.arena.give_back(id);
    CHECK(w.arena.look(id).cold());
    CHECK(w.arena.look(id).generation() != generation);
}
