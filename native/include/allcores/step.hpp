// Named steps: the points at which a death makes a difference. `STEP("put.claimed")` is nothing, unless ALLCORES_STEPS is
// defined, as in the build that tests/crash uses: there it notes that the step was reached, and a process that was armed for
// it dies right there, or stops. The names are those of the model and of the comments at the top of the headers.
#pragma once

#ifndef ALLCORES_STEPS

#define STEP(name) static_cast<void>(0)

#else

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstddef>
#include <cstring>

namespace allcores {

// Registers itself where it is mentioned, reached or not: so a list of all steps is no list to be kept.
struct Step {
    const char* name;
    const Step* next;
    static inline const Step* first = nullptr;
    explicit Step(const char* n) : name(n), next(first) { first = this; }
};

template <std::size_t N>
struct StepName {
    char text[N];
    consteval StepName(const char (&t)[N]) { std::copy_n(t, N, text); }
};

template <StepName name>
inline const Step the_step{name.text};

// What this process is armed for. Not its children: a fork is another process.
struct Armed {
    std::atomic<const Step*> step{nullptr};
    std::atomic<long> left{0};
    int signal = SIGKILL;
    char note[256] = {};  // file that the name is written to, so that a test knows that this was the death
    pid_t pid = 0;
};
inline Armed armed;

// The steps that this process came through, in order.
inline constexpr std::size_t kTraced = 1 << 16;
inline const Step* trace[kTraced];
inline std::atomic<std::size_t> traced{0};

inline void act_here(const Step& s) {
    if (armed.note[0] != 0) {
        const int fd = open(armed.note, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0 || write(fd, s.name, std::strlen(s.name)) < 0) _exit(3);
        close(fd);
    }
    armed.step.store(nullptr);
    kill(getpid(), armed.signal);
    while (armed.signal == SIGKILL) pause();
}

inline void reached(const Step& s) {
    const std::size_t i = traced.fetch_add(1, std::memory_order_relaxed);
    if (i < kTraced) trace[i] = &s;
    if (armed.step.load(std::memory_order_relaxed) != &s || armed.pid != getpid()) return;
    if (armed.left.fetch_sub(1) == 1) act_here(s);
}

// The nth time that this process comes to the step from now on. False: there is no such step.
inline bool arm(const char* name, long nth, int signal, const char* note) {
    const Step* s = Step::first;
    while (s != nullptr && std::strcmp(s->name, name) != 0) s = s->next;
    if (s == nullptr) return false;
    armed.left.store(nth);
    armed.signal = signal;
    std::snprintf(armed.note, sizeof armed.note, "%s", note);
    armed.pid = getpid();
    armed.step.store(s);
    return true;
}

}  // namespace allcores

#define STEP(name) ::allcores::reached(::allcores::the_step<name>)

#endif
