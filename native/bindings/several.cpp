// Waiting for several things, for Python. The loop is in allcores/several.py: here are the three steps of it that touch
// shared memory, and a thread that looks at descriptors meanwhile.
#include "thread.hpp"

#include <nanobind/stl/vector.h>

#include <poll.h>
#include <sys/eventfd.h>

#include <optional>

namespace allcores::bindings {

namespace {

// Tells those who wait for several things when one of the descriptors is ready; once.
class Lookout {
public:
    explicit Lookout(const std::vector<int>& fds) {
        stop_.emplace(eventfd(0, EFD_CLOEXEC));
        polled_.push_back({*stop_, POLLIN, 0});
        for (const int fd : fds) polled_.push_back({fd, POLLIN, 0});
        thread_ = start_thread([this] { run(); });
    }
    ~Lookout() { stop(); }
    Lookout(const Lookout&) = delete;

    bool told() const { return told_.load(); }

    void stop() {
        if (!stop_) return;
        if (getpid() == pid_) {  // else the thread is that of a parent
            eventfd_write(*stop_, 1);
            thread_->join();
            delete thread_;
        }
        stop_.reset();
    }

private:
    void run() {
        while (poll(polled_.data(), polled_.size(), -1) < 0 && errno == EINTR) {
        }
        told_.store(true);
        tell_several(bare_core().seg);
    }

    std::vector<pollfd> polled_;
    std::optional<Descriptor> stop_;
    const pid_t pid_ = getpid();
    std::atomic<bool> told_{false};
    std::thread* thread_;
};

u32 announce(const std::vector<u64>& handles) {
    Core& c = core();
    const u32 seen = several_now(c.seg);
    for (const u64 handle : handles) announce_several(c.seg, handle);
    return seen;
}

std::vector<bool> are_ready(const std::vector<u64>& handles) {
    Core& c = core();
    std::vector<bool> ready;
    for (const u64 handle : handles) ready.push_back(is_ready(c.seg, c.arena, handle));
    return ready;
}

void sleep_until_told(u32 seen, nb::handle timeout) {
    Core& c = core();
    const i64 deadline = deadline_for(true, timeout);
    const Sleep how = without_gil([&] {
        c.seg.set_runnable(false);
        const Sleep s = sleep_several(c.seg, seen, deadline);
        c.seg.set_runnable(true);
        return s;
    });
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    if (how == Sleep::timeout && c.look_around != nullptr) in_python([&] { return nb::handle(c.look_around)(); });
}

}  // namespace

void bind_several(nb::module_& m) {
    m.def("several_announce", &announce, nb::arg("handles"));
    m.def("several_ready", &are_ready, nb::arg("handles"));
    m.def("several_sleep", &sleep_until_told, nb::arg("seen"), nb::arg("timeout").none());
    m.def("several_tell", [] { tell_several(core().seg); });
    nb::class_<Lookout>(m, "Lookout")
        .def(nb::init<const std::vector<int>&>(), nb::arg("fds"))
        .def("told", &Lookout::told)
        .def("stop", &Lookout::stop);
}

}  // namespace allcores::bindings
