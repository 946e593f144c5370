// What a pool's worker has done, in its record in the segment. Written by the worker alone; whoever reads it finds each word
// right and all of them of about the same moment.
#pragma once

#include "core.hpp"

namespace allcores::bindings {

// The only writer of a word adds to it.
template <class T>
void add(std::atomic<T>& word, T n) {
    word.store(word.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

inline Done& my_done() {
    Core& c = bare_core();
    return c.seg.participant(c.seg.me).done;
}

// By the coarse clock. Summed up it is right all the same: of many short spans as many contain a tick as is their share of the
// time.
inline void note_task_begun() { my_done().since.store(coarse_now_ns(), std::memory_order_relaxed); }

// What is no task, but ends the start of a worker, counts as none: all begins anew with it, as a worker may work for several
// pools, one after the other.
inline void note_task_ended(u64 task) {
    Done& d = my_done();
    const i64 now = coarse_now_ns();
    if (task == UINT64_MAX) {
        d.tasks.store(0, std::memory_order_relaxed);
        d.items.store(0, std::memory_order_relaxed);
        d.busy.store(0, std::memory_order_relaxed);
        d.born.store(now, std::memory_order_relaxed);
    } else {
        add(d.busy, now - d.since.load(std::memory_order_relaxed));
        add(d.tasks, u64{1});
        add(d.items, u64{1});  // run_chunk counts the others of a chunk
    }
    d.since.store(now, std::memory_order_relaxed);
}

}  // namespace allcores::bindings
