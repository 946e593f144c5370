// Messages for tests, and what has to be true of them on arrival: that every byte is there, and every block is ours.
#pragma once

#include "check.hpp"

namespace check {

// A message whose inline body repeats its number, so that a torn copy shows.
inline Message inline_message(u64 a, u32 size = 64) {
    Message m{};
    m.a = a;
    m.size = size;
    std::memset(m.body, static_cast<int>(a % 251), size);
    return m;
}
inline void check_inline(const Message& m) {
    for (u32 i = 0; i < m.size; ++i) CHECK_EQ(static_cast<u8>(m.body[i]), m.a % 251);
}

// A message with a root block and child blocks, all owned by this process.
inline Message block_message(World& w, u64 a, u32 buffers, u64 bytes) {
    Message m{};
    m.a = a;
    m.root = w.arena.take(Root::bytes_for(300, buffers));
    CHECK(m.root != 0);
    Root& root = *reinterpret_cast<Root*>(w.arena.data(m.root));
    root.pickle_bytes = 300;
    root.buffers = buffers;
    root.handles = 0;
    for (u32 i = 0; i < buffers; ++i) {
        const BlockId block = w.arena.take(bytes);
        CHECK(block != 0);
        root.buffer()[i] = {bytes, block, 0};
        std::memset(w.arena.data(block), static_cast<int>((a + i) % 251), bytes);
    }
    std::memset(root.pickle(), static_cast<int>(a % 251), 300);
    return m;
}

// That a received message owns its blocks and has its bytes; then gives the blocks back.
inline void accept_blocks(World& w, const Message& m) {
    const auto mine = [&](BlockId id) {
        const BlockWord word = w.arena.look(id);
        return word.state() == BlockState::owned && word.owner() == w.seg.me;
    };
    CHECK(mine(m.root));
    Root& root = *reinterpret_cast<Root*>(w.arena.data(m.root));
    for (u64 i = 0; i < root.pickle_bytes; ++i) CHECK_EQ(static_cast<u8>(root.pickle()[i]), m.a % 251);
    for (u32 i = 0; i < root.buffers; ++i) {
        const auto [bytes, block, pad] = root.buffer()[i];
        CHECK(mine(block));
        for (u64 b = 0; b < bytes; b += 61) CHECK_EQ(static_cast<u8>(w.arena.data(block)[b]), (m.a + i) % 251);
        w.arena.give_back(block);
    }
    w.arena.give_back(m.root);
}

}  // namespace check
