// Waiting for several things at once, of any kind and number: who does so announces itself at each, looks at all, and sleeps
// on one word in the header, which every change at an announced place counts up (park.hpp). It takes nothing: what is ready
// may be gone when it comes to take it, where others wait for the same.
#pragma once

#include "recover.hpp"

namespace allcores {

inline u32 several_now(const Segment& seg) { return seg.header().several.load(std::memory_order_seq_cst); }

// Where changes of the thing are told. For a pipe also that something was taken: who shows a descriptor wants to know.
template <class F>
void for_each_place(Segment& seg, u64 handle, F&& f) {
    const u64 at = offset_of(handle);
    switch (static_cast<Kind>(seg.at<ObjectHead>(at).kind.load())) {
        case Kind::pipe: f(seg.at<Channel>(at).room); [[fallthrough]];
        case Kind::channel: return f(seg.at<Channel>(at).items);
        case Kind::lock: return f(seg.at<Lock>(at).state.parking);
        case Kind::data: return f(seg.at<Data>(at).lock.parking);
        case Kind::semaphore: return f(seg.at<Semaphore>(at).parking);
        case Kind::bounded_semaphore: return f(seg.at<BoundedSemaphore>(at).parking);
        case Kind::event: return f(seg.at<Event>(at).parking);
        default: return;
    }
}

inline void announce_several(Segment& seg, u64 handle) {
    for_each_place(seg, handle, [](Parking& p) { p.word.fetch_or(kSeveral, std::memory_order_seq_cst); });
}

// Whether what one waits for there would be had at once, by an error too.
inline bool is_ready(Segment& seg, Arena& arena, u64 handle) {
    const u64 at = offset_of(handle);
    switch (static_cast<Kind>(seg.at<ObjectHead>(at).kind.load())) {
        case Kind::pipe: return PipeView(seg, arena, seg.at<Pipe>(at)).can_receive();
        case Kind::channel: return ChannelView(seg, arena, seg.at<Channel>(at)).can_take();
        case Kind::lock: return LockView(seg, seg.at<Lock>(at).state).would_acquire();
        case Kind::data: return LockView(seg, seg.at<Data>(at).lock).would_acquire();
        case Kind::semaphore: return seg.at<Semaphore>(at).value.load() > 0;
        case Kind::bounded_semaphore: return BoundedSemaphoreView(seg, seg.at<BoundedSemaphore>(at)).value() > 0;
        case Kind::event: return seg.at<Event>(at).is_set.load() != 0;
        default: return true;
    }
}

// Sleeps until something that was announced has changed since `seen` was read; before the announcements. False: by a signal,
// by the deadline, or because it has lasted long.
inline Sleep sleep_several(const Segment& seg, u32 seen, i64 deadline) {
    // SYNC POINT announce-then-look
    return futex_wait(seg.header().several, seen, std::min(deadline, now_ns() + kNet));
}

}  // namespace allcores
