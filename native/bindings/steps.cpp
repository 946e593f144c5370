// Only in the build that tests/crash uses (ALLCORES_STEPS): dying at a named step, and damaging shared memory.
#ifdef ALLCORES_STEPS

#include "core.hpp"

#include <cstdio>
#include <cstdlib>

namespace allcores::bindings {

namespace {

nb::list all_steps() {
    nb::list names;
    for (const Step* s = Step::first; s != nullptr; s = s->next) names.append(s->name);
    return names;
}

// The steps that this process has come to since the last call, in order.
nb::list take_trace() {
    nb::list names;
    const std::size_t n = std::min(traced.load(), kTraced);
    for (std::size_t i = 0; i < n; ++i) names.append(trace[i]->name);
    traced.store(0);
    return names;
}

void die_at(const char* step, long nth, const char* note, bool stop) {
    if (!arm(step, nth, stop ? SIGSTOP : SIGKILL, note)) raise_python(PyExc_ValueError, "there is no such step");
}

char* inside(u64 offset, u64 bytes) {
    Segment& seg = core().seg;
    if (offset > seg.bytes || bytes > seg.bytes - offset) raise_python(PyExc_IndexError, "this is outside the segment");
    return seg.base + offset;
}

// Where the next message of a channel lies: the cell, and the root block it names (0: none).
nb::tuple next_message(u64 channel) {
    Segment& seg = core().seg;
    Ring& ring = seg.at<Ring>(seg.at<Channel>(channel).first.load());
    Cell& cell = ring.cell(ring.head.load() & kPositionMask);
    return nb::make_tuple(seg.offset_of(&cell.message), cell.message.root);
}

}  // namespace

void bind_steps(nb::module_& m) {
    m.def("steps", &all_steps);
    m.def("take_trace", &take_trace);
    m.def("die_at", &die_at, nb::arg("step"), nb::arg("nth") = 1, nb::arg("note") = "", nb::arg("stop") = false);
    m.def("peek", [](u64 offset, u64 bytes) { return nb::bytes(inside(offset, bytes), bytes); });
    m.def("poke", [](u64 offset, nb::bytes bytes) {
        std::memcpy(inside(offset, bytes.size()), bytes.c_str(), bytes.size());
    });
    m.def("next_message", &next_message);
    m.def("block_place", [](BlockId id) { return nb::make_tuple(core().arena.offset(id), core().arena.size(id)); });
    // A process that is started by another: the template, which settles deaths, can die in the middle of that.
    const char* doomed = std::getenv("ALLCORES_DIE_AT");  // step:nth:file
    if (doomed == nullptr) return;
    char step[64], note[256];
    long nth = 0;
    if (std::sscanf(doomed, "%63[^:]:%ld:%255s", step, &nth, note) == 3) arm(step, nth, SIGKILL, note);
}

}  // namespace allcores::bindings

#endif
