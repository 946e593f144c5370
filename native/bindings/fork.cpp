// Forking this very process, and what a child needs so that it does not outlive who watches over it.
#include "core.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>

#include <csignal>

namespace allcores::bindings {

namespace {

// As os.fork(), with the same hooks, but without its warning about threads: who comes here has asked for `fork` by name. In
// the child all signals are held back until it lets them in: a KeyboardInterrupt out of its first lines would unwind into what
// its parent was doing.
int fork_here() {
    if (PySys_Audit("os.fork", nullptr) < 0) throw nb::python_error();
    sigset_t all, before;
    sigfillset(&all);
    PyOS_BeforeFork();  // these call Python, and may wait for another thread: Ctrl-C is let in meanwhile
    pthread_sigmask(SIG_SETMASK, &all, &before);
    errno = 0;          // from which our hook knows whether there is a child
    const pid_t pid = fork();
    if (pid == 0) {
        PyOS_AfterFork_Child();
        return 0;
    }
    const int error = errno;
    PyOS_AfterFork_Parent();
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (pid > 0) return pid;
    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    throw nb::python_error();
}

void be_watched() { core().seg.participant(core().seg.me).supervised.store(1); }

// For a child of the template: the kernel kills it when the template ends; if that has happened, it does so itself.
void die_with(int parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) raise(SIGKILL);
    be_watched();
}

// For a child of the user's process: likewise, when the other end of this pipe is closed, or says something. Not by
// PR_SET_PDEATHSIG, which tells of the end of the thread that forked. The descriptor has to stay open.
void die_with_pipe(int fd) {
    const bool set = fcntl(fd, F_SETOWN, getpid()) == 0 && fcntl(fd, F_SETSIG, SIGKILL) == 0 &&
                     fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC) == 0;
    pollfd ended{fd, POLLIN, 0};
    if (!set || poll(&ended, 1, 0) != 0) raise(SIGKILL);
    be_watched();
}

}  // namespace

void bind_fork(nb::module_& m) {
    m.def("fork", &fork_here);
    m.def("die_with", &die_with, nb::arg("parent"));
    m.def("die_with_pipe", &die_with_pipe, nb::arg("fd"));
}

}  // namespace allcores::bindings
