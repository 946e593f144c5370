// Threads of the bindings' own, which run no Python.
#pragma once

#include "core.hpp"

#include <csignal>
#include <memory>
#include <system_error>
#include <thread>

namespace allcores::bindings {

// A descriptor, closed at the end.
class Descriptor {
public:
    explicit Descriptor(int fd) : fd_(fd) {
        if (fd >= 0) return;
        PyErr_SetFromErrno(PyExc_OSError);
        throw nb::python_error();
    }
    ~Descriptor() { close(fd_); }
    Descriptor(const Descriptor&) = delete;
    operator int() const { return fd_; }

private:
    const int fd_;
};

// A thread that gets no signals: they are for the threads of the program. OSError where there is no room for one.
template <class F>
std::thread* start_thread(F&& run) {
    struct Masked {
        sigset_t before;
        Masked() {
            sigset_t all;
            sigfillset(&all);
            pthread_sigmask(SIG_SETMASK, &all, &before);
        }
        ~Masked() { pthread_sigmask(SIG_SETMASK, &before, nullptr); }
    };
    try {
        const Masked meanwhile;
        return new std::thread(run);
    } catch (const std::system_error& e) {
        errno = e.code().value();
        PyErr_SetFromErrno(PyExc_OSError);
        throw nb::python_error();
    }
}

}  // namespace allcores::bindings
