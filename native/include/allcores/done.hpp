// What a pool's worker has done, for whoever wants to see it: written by the worker alone, one word at a time. Nobody acts on
// it, so nothing in it needs repair.
#pragma once

#include <atomic>
#include <initializer_list>

#include "layout.hpp"

namespace allcores {

struct Done {
    std::atomic<u64> tasks, items;
    std::atomic<i64> busy;           // nanoseconds in tasks that have ended
    std::atomic<i64> since;          // when the task began that it is in, or the last one ended
    std::atomic<i64> born;           // when it was ready for its first task
    std::atomic<u32> dumps;          // how often it has written its stacks
    std::atomic<u32> dumps_fd;       // its descriptor that they are written to; 0: it writes none
    void clear() {
        for (auto* word : {&tasks, &items}) word->store(0);
        for (auto* word : {&busy, &since, &born}) word->store(0);
        for (auto* word : {&dumps, &dumps_fd}) word->store(0);
    }
};

}  // namespace allcores
