// What the native tests share: their registration, checks, a segment to work in, and processes to kill.
//
// Every test runs in a process of its own: it may die in any way, and leaves no thread, mapping or robust lock to the
// next. A check that fails ends the process it is in, from whatever thread; who waits for that process fails with it.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "allcores/several.hpp"

#if defined(__SANITIZE_THREAD__)
#define ALLCORES_MODE "tsan"
#elif defined(__SANITIZE_ADDRESS__)
#define ALLCORES_MODE "asan"
#else
#define ALLCORES_MODE "plain"
#endif

namespace check {

using namespace allcores;

inline constexpr bool kPlain = std::string_view(ALLCORES_MODE) == "plain";
// Sanitizers cost a factor of ten and see a fault in a tenth of the rounds as well.
inline constexpr u32 rounds(u32 n) { return kPlain ? n : n / 10; }

// Longer than any test takes on a machine that is busy with other things; shorter than patience with a hang.
inline constexpr unsigned kHangs = 60;

struct Test {
    const char* name;
    void (*run)();
};
inline std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}

#define TEST(name)                                                                                              \
    static void test_##name();                                                                                  \
    [[maybe_unused]] static const bool has_##name = (check::tests().push_back({#name, test_##name}), true);     \
    static void test_##name()

[[noreturn]] inline void fail(const char* file, int line, const char* what) {
    std::fprintf(stderr, "%s:%d: not true: %s\n", file, line, what);
    _exit(1);
}
template <class A, class B>
void equal(const A& a, const B& b, const char* file, int line, const char* what) {
    if (static_cast<i64>(a) == static_cast<i64>(b)) return;
    std::fprintf(stderr, "%lld, not %lld: ", static_cast<long long>(a), static_cast<long long>(b));
    fail(file, line, what);
}

#define CHECK(x) ((x) ? void() : check::fail(__FILE__, __LINE__, #x))
#define CHECK_EQ(a, b) check::equal(a, b, __FILE__, __LINE__, #a " == " #b)

// A segment small enough for every sanitizer's shadow, joined by this process.
struct World {
    Segment seg;
    Arena arena{seg};

    explicit World(u64 bytes = 256 << 20, u64 warm = 64 << 20) {
        CHECK(create_segment(seg, kBlocksAt + bytes, kBlocksAt + bytes, kBlocksAt, 2, 1, warm));
        CHECK(join_segment(seg));
    }
    World(const World&) = delete;

    Channel& channel(u64 bound) {
        const u64 offset = ChannelView::create(seg, arena, bound);
        CHECK(offset != 0);
        return seg.at<Channel>(offset);
    }
    ChannelView view(Channel& c) { return {seg, arena, c}; }
    RingView view(Ring& r) { return {seg, arena, r}; }

    // A ring alone: that of a bounded channel.
    Ring& ring(u64 capacity) { return seg.at<Ring>(channel(capacity).origin.load()); }

    template <class T>
    T& object(Kind kind, u64 bytes = sizeof(T)) {
        const BlockId block = arena.take(bytes);
        CHECK(block != 0);
        T& made = *reinterpret_cast<T*>(arena.data(block));
        std::memset(static_cast<void*>(&made), 0, sizeof(T));
        become_object(seg, arena, made.object, block, kind);
        return made;
    }

    bool let_go(Object& o, Slot slot) { return allcores::let_go(arena, o, slot); }
    bool is_last(Object& o) { return !is_held(o) && arena.claim(o.head.block, arena.look(o.head.block)); }
    void drop(Object& o) {
        if (let_go(o, seg.me)) end_object(seg, arena, o);
    }

    // As the bindings do after a fork: what is used is held, or recovery does not look at it. Without for_each_object, which is
    // recovery's own, for one process at a time.
    void hold_all() {
        for (BlockId id = kBlocksPerExtent; id < seg.header().extents_used.load() * kBlocksPerExtent; ++id) {
            if (!arena.exists(id) || arena.look(id).state() < BlockState::object) continue;
            Object& o = *reinterpret_cast<Object*>(arena.data(id));
            const Kind kind = static_cast<Kind>(o.head.kind.load());
            if (kind != Kind::none && kind != Kind::ring) hold(o, seg.me);
        }
    }

    // What the parent of a dead process does. The slot is free afterwards.
    LastWords settle(pid_t dead) {
        const Slot slot = slot_of(seg, static_cast<u32>(dead));
        LastWords words;
        if (slot == 0) return words;  // it died before it took part
        recover(seg, arena, slot, [&](const LastWords& w) { words = w; });
        free_slot(seg, slot);
        return words;
    }

    // Forks a participant that runs `body` and exits. It dies with this process.
    template <class F>
    pid_t start(F&& body) {
        const pid_t parent = getpid();
        const pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid != 0) return pid;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(1);  // it ended before that
        tid_cache() = seg.me = 0;
        CHECK(join_segment(seg));
        hold_all();
        body();
        _exit(0);
    }
};

// How it ended, as waitpid says; it is dead but not settled.
inline int reap(pid_t pid) {
    int status = 0;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return status;
}
inline bool went_well(int status) { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }
inline bool was_killed(int status) { return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }

[[noreturn]] inline void die() {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

// Forks a process whose `body` ends with die(), and waits for that.
template <class F>
pid_t start_and_die(World& w, F&& body) {
    const pid_t pid = w.start(body);
    CHECK(was_killed(reap(pid)));
    return pid;
}

// Zeroed memory that all processes of the test share, outside the segment: what the checks themselves count with.
template <class T>
T& shared() {
    void* p = mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(p != MAP_FAILED);
    return *static_cast<T*>(p);
}

// Opened once, for all threads and processes. In memory from shared(), or of threads of one process.
struct Gate {
    std::atomic<u32> is_open{0};
    void open() {
        is_open.store(1);
        futex_wake(is_open, INT_MAX);
    }
    void pass() {
        while (is_open.load() == 0) futex_wait(is_open, 0, kNever);
    }
};

// For all of `n`, again and again.
struct StartLine {
    std::atomic<u32> arrived{0};
    std::atomic<u32> round{0};
    void wait(u32 n) {
        const u32 r = round.load();
        if (arrived.fetch_add(1) + 1 == n) {
            arrived.store(0);
            round.store(r + 1);
            futex_wake(round, INT_MAX);
        }
        while (round.load() == r) futex_wait(round, r, kNever);
    }
};

// Runs f(0) .. f(n-1) in threads of their own.
template <class F>
void in_threads(u32 n, F&& f) {
    std::vector<std::jthread> threads;
    for (u32 i = 0; i < n; ++i) threads.emplace_back([&f, i] { f(i); });
}

// Waits for what is sure to come, and soon: a wait that lasted until the net of wait_for caught it lost its wake-up.
template <class Attempt, class More>
void wait_in_time(const Segment& seg, Parking& p, Attempt&& attempt, More&& more) {
    const i64 start = now_ns();
    CHECK(wait_for(seg, p, kNever, attempt, more) == Wait::done);
    CHECK(now_ns() - start < kNet / 10 * 9);
}

// xorshift: the same numbers in every run.
struct Random {
    u64 state;
    explicit Random(u64 seed) : state(seed * 0x9e3779b97f4a7c15 + 1) {}
    u64 below(u64 n) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return (state >> 11) % n;
    }
};

// Runs one test in a process of its own; false if it failed.
inline bool run(const Test& t) {
    const pid_t pid = fork();
    if (pid == 0) {
        alarm(kHangs);
        t.run();
        _exit(0);
    }
    const int status = reap(pid);
    if (went_well(status)) return true;
    const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    const char* how = signal == 0 ? "see above" : signal == SIGALRM ? "it hangs" : strsignal(signal);
    std::fprintf(stderr, "FAILED in %s: %s: %s\n", ALLCORES_MODE, t.name, how);
    return false;
}

}  // namespace check

// With names as arguments only those tests; else all of the file.
int main(int argc, char** argv) {
    const allcores::i64 start = allcores::now_ns();
    unsigned done = 0;
    for (const check::Test& t : check::tests()) {
        bool wanted = argc == 1;
        for (int i = 1; i < argc; ++i) wanted |= std::strcmp(argv[i], t.name) == 0;
        if (!wanted) continue;
        if (!check::run(t)) return 1;
        ++done;
    }
    const char* name = std::strrchr(argv[0], '/');
    std::printf("%-5s %-8s %2u tests in %.1f s\n", ALLCORES_MODE, name != nullptr ? name + 1 : argv[0], done,
                static_cast<double>(allcores::now_ns() - start) / 1e9);
    return done == 0 && argc > 1 ? 1 : 0;
}
