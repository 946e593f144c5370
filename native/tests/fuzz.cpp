// Damaged bytes: whatever a message or the blocks it names say, taking it does not crash, nothing that is not its own is
// touched, and the next message is whole. The words of cells and blocks themselves are trusted: no message can change them.
#include "messages.hpp"

using namespace check;

namespace {

// Flips some bits, sets some bytes, or writes a small number: ids and sizes are small.
void damage(Random& random, char* at, u64 bytes) {
    for (u64 n = random.below(4) + 1; n > 0; --n) {
        char* p = at + random.below(bytes);
        switch (random.below(3)) {
            case 0: *p = static_cast<char>(*p ^ (1 << random.below(8))); break;
            case 1: *p = static_cast<char>(random.below(256)); break;
            default: {
                char* word = at + random.below(bytes / 4) * 4;
                const u32 value = static_cast<u32>(random.below(2) == 0 ? random.below(300) : random.below(u64{1} << 32));
                std::memcpy(word, &value, sizeof value);
            }
        }
    }
}

// Reads all that it is said to have.
u64 read_all(World& w, const Message& m) {
    u64 sum = 0;
    const auto add = [&](const char* p, u64 n) {
        for (u64 i = 0; i < n; ++i) sum += static_cast<u8>(p[i]);
    };
    if (m.root == 0) {
        add(m.body, std::min(m.size, kInline));
        return sum;
    }
    Root& root = root_of(w.arena, m.root);
    CHECK(root.fits(w.arena.size(m.root)));
    add(root.pickle(), root.pickle_bytes);
    for (u32 i = 0; i < root.buffers; ++i) {
        const auto [bytes, block, pad] = root.buffer()[i];
        CHECK(bytes <= w.arena.size(block));
        CHECK(w.arena.look(block).owner() == w.seg.me);
        add(w.arena.data(block), bytes);
    }
    return sum;
}

Message tagged(Message m, u16 tag) {
    m.tag = tag;
    return m;
}

// One damaged message among whole ones, of every kind; what is damaged is the cell, the root block, or both.
void fuzz(u64 seed, u32 times) {
    World w;
    Channel& c = w.channel(8);
    Channel& other = w.channel(8);
    Random random(seed);
    u32 refused = 0;
    for (u32 i = 0; i < times; ++i) {
        const u16 tag = static_cast<u16>(3 * i);
        const auto made = [&](u64 a, u16 t) {
            const u32 buffers = static_cast<u32>(random.below(4));
            return buffers == 3 ? inline_message(a, 100) : tagged(block_message(w, a, buffers, 300), t);
        };
        const Message victim = made(1, tag);
        CHECK(w.view(other).try_put(made(7, tag + 1)) == Sent::ok);
        CHECK(w.view(c).try_put(victim) == Sent::ok);
        CHECK(w.view(c).try_put(made(2, tag + 2)) == Sent::ok);
        Ring& ring = w.seg.at<Ring>(c.origin.load());
        const u64 what = random.below(3);
        if (what != 1) damage(random, reinterpret_cast<char*>(&ring.cell(ring.head.load() & kPositionMask).message), sizeof(Message));
        if (what != 0 && victim.root != 0) damage(random, w.arena.data(victim.root), Root::bytes_for(0, 3));
        Message m;
        CHECK(w.view(c).try_take(m));
        if ((m.flags & kDamaged) != 0 && m.root == 0) ++refused;
        else read_all(w, m);
        w.view(c).free_blocks(m);
        for (Channel* next : {&c, &other}) {
            CHECK(w.view(*next).try_take(m));
            CHECK_EQ(m.a, next == &c ? 2 : 7);
            m.root != 0 ? accept_blocks(w, m) : check_inline(m);
            CHECK(!w.view(*next).try_take(m));
        }
    }
    CHECK(refused > times / 20);
}

}  // namespace

TEST(damaged_messages) {
    for (u64 seed = 0; seed < rounds(100); ++seed) fuzz(seed, 300);
}

// The reader dies with a damaged message in its hands, the writer while it sends one: settling that is safe too.
TEST(damage_and_death) {
    World w;
    Channel& c = w.channel(4);
    Random random(1);
    for (u32 i = 0; i < rounds(500); ++i) {
        const bool writes = i % 2 == 0;
        const pid_t dead = start_and_die(w, [&] {
            Message m = tagged(block_message(w, 1, 2, 300), static_cast<u16>(i));
            CHECK(w.view(c).try_put(m) == Sent::ok);
            Cell& cell = w.seg.at<Ring>(c.origin.load()).cell(w.seg.at<Ring>(c.origin.load()).head.load() & kPositionMask);
            const u32 turn = CellWord{cell.word.load()}.turn();
            cell.word.store(CellWord::make(turn, writes ? CellState::committing : CellState::reading, w.seg.me).raw);
            damage(random, reinterpret_cast<char*>(&cell.message), sizeof(Message));
            damage(random, w.arena.data(m.root), Root::bytes_for(0, 2));
            die();
        });
        w.settle(dead);
        Message m;
        CHECK(w.view(c).try_take(m));
        if (m.root != 0) read_all(w, m);
        w.view(c).free_blocks(m);
        CHECK(!w.view(c).try_take(m));
    }
}

// A handle may say anything.
TEST(damaged_handles) {
    World w;
    const u64 good = w.seg.offset_of(&w.channel(3).object);
    Random random(2);
    CHECK(is_object_at(w.seg, w.arena, good));
    u32 found = 0;
    for (u32 i = 0; i < rounds(200'000); ++i) {
        const u64 offset = i % 2 == 0 ? good ^ u64{1} << random.below(64) : random.below(w.seg.bytes + 1000);
        const u64 ring_at = w.seg.at<Channel>(good).origin.load();  // is an object too, of another kind
        if (offset != ring_at && is_object_at(w.seg, w.arena, offset)) ++found;
    }
    CHECK_EQ(found, 0);
    Ring& ring = w.seg.at<Ring>(w.seg.at<Channel>(good).origin.load());
    CHECK(w.view(w.seg.at<Channel>(good)).is_sound());
    for (const u64 capacity : {u64{0}, u64{1} << 20, ~u64{0}}) {
        ring.capacity = capacity;
        CHECK(!w.view(w.seg.at<Channel>(good)).is_sound());
    }
    ring.capacity = 3;
    for (const u64 at : {u64{64}, w.seg.bytes, good + 64, ~u64{63}}) {
        ring.next.store(at);
        CHECK(!w.view(w.seg.at<Channel>(good)).is_sound());
    }
}
