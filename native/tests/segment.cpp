// The segment: found again by others, refused if it is none, and nobody's slot while its process lives.
#include "check.hpp"

using namespace check;

namespace {

int open_again(const Segment& seg) {
    char path[64];
    std::snprintf(path, sizeof path, "/proc/self/fd/%d", seg.fd);
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

bool refused(const Segment& whole) {
    Segment other;
    const int fd = open_again(whole);
    const bool attached = attach_segment(other, fd);
    const int why = errno;
    close(fd);  // it stays the caller's
    return !attached && why == EPROTO && other.base == nullptr;
}

// A process that joined and stays; it is killed by the caller.
pid_t start_and_stay(World& w) {
    Gate& joined = shared<Gate>();
    const pid_t pid = w.start([&] {
        joined.open();
        for (;;) pause();
    });
    joined.pass();
    return pid;
}

// Dead but not yet reaped: a zombie.
void kill_only(pid_t pid) {
    kill(pid, SIGKILL);
    siginfo_t info;
    CHECK(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) == 0);
}

}  // namespace

TEST(smoke) {
    World w;
    const Header& h = w.seg.header();
    CHECK_EQ(h.bytes, w.seg.bytes);
    CHECK_EQ(h.creator_pid, getpid());
    CHECK_EQ(h.creator_fd, w.seg.fd);
    CHECK_EQ(w.seg.me, 1);
    CHECK(!w.seg.is_dead(w.seg.me));
    CHECK_EQ(slot_of(w.seg, static_cast<u32>(getpid())), 1);
    CHECK_EQ(w.seg.offset_of(w.seg.base + 5), 5);
    CHECK_EQ(w.seg.runnable(), 1);
    w.seg.set_runnable(false);
    CHECK_EQ(w.seg.runnable(), 0);
}

TEST(attach) {
    World w;
    Segment other;
    CHECK(attach_segment(other, open_again(w.seg)));
    CHECK(other.base != w.seg.base);
    CHECK_EQ(other.bytes, w.seg.bytes);
    CHECK_EQ(other.me, 0);
    const BlockId id = w.arena.take(1000);
    std::strcpy(w.arena.data(id), "the same memory");
    CHECK(std::strcmp(other.base + w.arena.offset(id), "the same memory") == 0);
}

TEST(refuses_what_is_none) {
    World w;
    Header& h = w.seg.header();
    CHECK(!refused(w.seg));
    h.magic ^= 1;
    CHECK(refused(w.seg));
    h.magic ^= 1;
    h.version = kLayoutVersion + 1;
    CHECK(refused(w.seg));
    h.version = kLayoutVersion;
    h.bytes *= 2;
    CHECK(refused(w.seg));
    h.bytes /= 2;
    CHECK(!refused(w.seg));
    // Too short to look into.
    Segment other;
    const int fd = memfd_create("short", MFD_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(!attach_segment(other, fd));
    CHECK(ftruncate(fd, sizeof(Header)) == 0);
    CHECK(!attach_segment(other, fd));
    close(fd);
}

TEST(capacity) {
    Segment seg;
    const u64 least = kBlocksAt + (1 << 20);
    // More than any address space has. Sanitizers end the program for that instead of refusing it.
    if (kPlain) {
        CHECK(create_segment(seg, u64{1} << 50, least, kBlocksAt, 1, 1, 0));
        CHECK(seg.bytes >= least && seg.bytes < u64{1} << 48);
        CHECK_EQ(seg.header().bytes, seg.bytes);
    }
    CHECK(!create_segment(seg, u64{1} << 62, u64{1} << 61, kBlocksAt, 1, 1, 0));
    CHECK(errno == ENOMEM || errno == EFBIG);
}

TEST(size_is_sealed) {
    World w;
    CHECK(ftruncate(w.seg.fd, 4096) != 0 && errno == EPERM);
    CHECK(ftruncate(w.seg.fd, static_cast<off_t>(2 * w.seg.bytes)) != 0 && errno == EPERM);
}

TEST(join_gives_each_its_own) {
    World w;
    constexpr u32 kProcesses = 8;
    auto& slots = shared<std::atomic<u32>[kProcesses]>();
    std::vector<pid_t> all;
    for (auto& slot : slots) {
        all.push_back(w.start([&] {
            slot.store(w.seg.me);
            for (;;) pause();
        }));
    }
    u64 seen = 2;  // slot 1 is ours
    for (auto& slot : slots) {
        while (slot.load() == 0) sched_yield();
        CHECK((seen & u64{1} << slot.load()) == 0);
        seen |= u64{1} << slot.load();
    }
    CHECK_EQ(w.seg.runnable(), kProcesses + 1);
    for (u32 i = 0; i < kProcesses; ++i) {
        CHECK_EQ(slot_of(w.seg, static_cast<u32>(all[i])), slots[i].load());
        kill(all[i], SIGKILL);
        reap(all[i]);
        w.settle(all[i]);
    }
    CHECK_EQ(w.seg.runnable(), 1);
}

// All at the same moment. Threads can, each with a view of its own; their end is the death of the slot.
TEST(join_races) {
    World w;
    StartLine start;
    std::vector<std::atomic<u8>> taken(kMaxParticipants + 1);
    for (u32 round = 0; round < rounds(250); ++round) {
        in_threads(4, [&](u32) {
            Segment mine = w.seg;
            start.wait(4);
            CHECK(join_segment(mine));
            CHECK_EQ(taken[mine.me].fetch_add(1), 0);
        });
    }
    for (u32 s = 2; s <= 4 * rounds(250) + 1; ++s) {
        CHECK_EQ(taken[s].load(), 1);
        CHECK(w.seg.is_dead(static_cast<Slot>(s)));
    }
}

TEST(join_refuses_when_full) {
    World w;
    Gate& tried = shared<Gate>();
    for (u32 i = 2; i <= kMaxParticipants; ++i) w.seg.participant(static_cast<Slot>(i)).pid.store(1);
    const pid_t pid = fork();
    if (pid == 0) {
        w.seg.me = 0;
        _exit(join_segment(w.seg) ? 1 : 0);
    }
    CHECK(went_well(reap(pid)));
    w.seg.participant(kMaxParticipants).pid.store(0);
    const pid_t last = w.start([&] {
        CHECK_EQ(w.seg.me, kMaxParticipants);
        tried.open();
    });
    tried.pass();
    CHECK(went_well(reap(last)));
    CHECK(w.seg.is_dead(kMaxParticipants));
}

TEST(survives_kill) {
    World w;
    const pid_t pid = start_and_stay(w);
    const Slot slot = slot_of(w.seg, static_cast<u32>(pid));
    CHECK(slot != 0);
    CHECK(!w.seg.is_dead(slot));
    kill(pid, SIGSTOP);
    siginfo_t info;
    CHECK(waitid(P_PID, static_cast<id_t>(pid), &info, WSTOPPED) == 0);
    CHECK(!w.seg.is_dead(slot));  // slow or stopped is not dead
    kill_only(pid);
    CHECK(w.seg.is_dead(slot));
    CHECK(kill(pid, 0) == 0);  // a zombie: nobody can have its number yet
    reap(pid);
    CHECK(w.seg.is_dead(slot));
}

TEST(an_exit_is_a_death_too) {
    World w;
    Gate& go = shared<Gate>();
    const pid_t pid = w.start([&] { go.pass(); });
    Slot slot = 0;
    while ((slot = slot_of(w.seg, static_cast<u32>(pid))) == 0) sched_yield();
    go.open();
    CHECK(went_well(reap(pid)));
    CHECK(w.seg.is_dead(slot));
}

TEST(slot_is_used_again_after_free_slot_only) {
    World w;
    const pid_t first = start_and_stay(w);
    kill_only(first);
    reap(first);
    const Slot slot = slot_of(w.seg, static_cast<u32>(first));
    Participant& p = w.seg.participant(slot);
    const pid_t second = start_and_stay(w);
    CHECK(slot_of(w.seg, static_cast<u32>(second)) != slot);
    p.task.store(5);
    p.crew.store(6);
    p.item.store(7);
    free_slot(w.seg, slot);
    CHECK(!w.seg.is_dead(slot));
    for (u32 round = 0; round < 20; ++round) {
        const pid_t next = start_and_stay(w);
        CHECK_EQ(slot_of(w.seg, static_cast<u32>(next)), slot);
        CHECK(!w.seg.is_dead(slot));
        CHECK_EQ(p.task.load() + p.crew.load() + p.item.load(), 0);
        kill_only(next);
        CHECK(w.seg.is_dead(slot));
        reap(next);
        free_slot(w.seg, slot);
    }
}
