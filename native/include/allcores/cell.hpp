// The cells of a ring, and what they carry.
#pragma once

#include "object.hpp"

namespace allcores {

enum class CellState : u8 { free, writing, committing, ready, reading, tomb, sealed };

struct CellWord {
    u64 raw;
    static CellWord make(u32 turn, CellState s, Slot owner = 0) {
        return {static_cast<u64>(turn) << 32 | static_cast<u64>(s) << 28 | owner};
    }
    u32 turn() const { return static_cast<u32>(raw >> 32); }
    // Turns wrap round (a ring of one cell needs an hour or so for that): only their distance counts.
    i64 turns_after(u32 turn) const { return static_cast<std::int32_t>(this->turn() - turn); }
    CellState state() const { return static_cast<CellState>(raw >> 28 & 0xf); }
    Slot owner() const { return static_cast<Slot>(raw); }
};

inline constexpr u32 kInline = 216;

// What a cell carries: two numbers for the user of the ring, and a body, inline or in one block that may name more.
struct Message {
    u64 a;
    u64 b;
    u32 size;       // bytes inline
    BlockId root;   // or the block with the body
    u8 kind;        // how the body is encoded (codec of the bindings)
    u8 flags;
    u8 pad[6];
    char body[kInline];
};

// Message flags.
inline constexpr u8 kAnswersTask = 1;  // publishing it ends the task that its sender was running
inline constexpr u8 kIsTask = 2;       // taking it makes it the task that its receiver is running

struct Cell {
    std::atomic<u64> word;
    Message message;
};

static_assert(sizeof(Cell) == 256);

// The body in a root block: which other blocks hold the message's buffers, then the pickle.
struct Root {
    u64 pickle_bytes;
    u32 buffers;
    u32 pad;
    struct Buffer {
        u64 bytes;
        BlockId block;
        u32 pad;
    };
    Buffer* buffer() { return reinterpret_cast<Buffer*>(this + 1); }
    char* pickle() { return reinterpret_cast<char*>(buffer() + buffers); }
    static u64 bytes_for(u64 pickle, u32 buffers) { return sizeof(Root) + buffers * sizeof(Buffer) + pickle; }
};

}  // namespace allcores
