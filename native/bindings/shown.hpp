// What selectors see of a pipe, and event loops of a pool's answers.
#pragma once

#include "thread.hpp"

#include <sys/eventfd.h>

#include <mutex>

namespace allcores::bindings {

// A descriptor that is readable while the pipe has something to receive, or its end: for selectors, which know only
// descriptors. A thread shows what others do; what this process receives is shown at once.
class Shown {
public:
    // `alone`: nobody else receives there. Then what is shown stays so until update() is called, and what comes meanwhile
    // wakes no thread.
    explicit Shown(u64 handle, bool alone = false)
        : handle_(handle), alone_(alone), fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
        thread_ = start_thread([this] { run(); });
    }
    ~Shown() {
        if (!is_of_here()) return;
        stop_.store(true);
        tell_several(core().seg);
        thread_->join();
        delete thread_;
    }
    Shown(const Shown&) = delete;

    // Not in a fork of who made it: that has no such thread, and the descriptor's state is its parent's.
    bool is_of_here() const { return getpid() == pid_; }
    int fd() const { return fd_; }

    void update() {
        if (!is_of_here()) return;
        std::lock_guard guard(mutex_);
        Core& c = bare_core();
        if (!alone_ || !shown_ || !is_ready(c.seg, c.arena, handle_)) announce_several(c.seg, handle_);
        const bool now = is_ready(c.seg, c.arena, handle_);
        if (now == shown_) return;
        shown_ = now;
        eventfd_t count;
        now ? eventfd_write(fd_, 1) : eventfd_read(fd_, &count);
    }

private:
    void run() {
        Segment& seg = bare_core().seg;
        for (;;) {
            const u32 seen = several_now(seg);
            if (stop_.load()) return;
            update();
            sleep_several(seg, seen, kNever);
        }
    }

    const u64 handle_;
    const bool alone_;
    const Descriptor fd_;
    const pid_t pid_ = getpid();
    std::mutex mutex_;
    bool shown_ = false;
    std::atomic<bool> stop_{false};
    std::thread* thread_;
};

}  // namespace allcores::bindings
