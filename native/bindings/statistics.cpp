// What is in the segment, for allcores.statistics(): read from the tables and words as they are, while others change them.
#include "received.hpp"

namespace allcores::bindings {

namespace {

// Bytes are of whole blocks.
struct Sums {
    u64 blocks_used = 0, bytes_used = 0, blocks_free = 0, bytes_warm = 0;
    u64 kinds[16] = {};
};

Sums sums_of(const Arena& arena) {
    Sums s;
    for (u32 e = 1; e < arena.extents_used(); ++e) {
        for (u32 b = 0; b < arena.blocks_of(e); ++b) {
            const BlockId id = e * kBlocksPerExtent + b;
            const BlockWord w = arena.look(id);
            const bool free = w.state() == BlockState::free;
            ++(free ? s.blocks_free : s.blocks_used);
            if (!free || !w.cold()) (free ? s.bytes_warm : s.bytes_used) += arena.size(id);
            if (w.state() < BlockState::object) continue;
            const u32 kind = reinterpret_cast<const ObjectHead*>(arena.data(id))->kind.load();
            // It may have ended meanwhile, and these be somebody's data.
            if (arena.look(id).raw == w.raw && kind < std::size(s.kinds)) ++s.kinds[kind];
        }
    }
    return s;
}

u64 processes(const Segment& seg) {
    u64 n = 0;
    for (u32 i = 1; i <= seg.header().participants_used.load(); ++i) {
        const Slot slot = static_cast<Slot>(i);
        n += seg.participant(slot).pid.load() != 0 && !seg.is_dead(slot);
    }
    return n;
}

nb::dict statistics() {
    Core& c = core();
    const Header& h = c.seg.header();
    const Sums s = without_gil([&] { return sums_of(c.arena); });
    const auto of = [&](auto... kinds) { return (s.kinds[static_cast<u32>(kinds)] + ...); };
    nb::dict d;
    d["blocks_used"] = s.blocks_used;
    d["bytes_used"] = s.bytes_used;
    d["blocks_free"] = s.blocks_free;
    d["bytes_warm"] = s.bytes_warm;
    d["bytes_backed"] = backed_bytes(c.seg);
    d["bytes_kept"] = c.kept.load();
    d["keep_limit"] = keep_limit();
    d["warm_limit"] = h.warm_limit;
    d["addresses_used"] = std::min(h.next_byte.load(), h.bytes) - kBlocksAt;
    d["addresses"] = h.bytes - kBlocksAt;
    d["processes"] = processes(c.seg);
    d["queues"] = of(Kind::channel);
    d["locks"] = of(Kind::lock);
    d["values"] = of(Kind::data);
    d["semaphores"] = of(Kind::semaphore, Kind::bounded_semaphore);
    d["events"] = of(Kind::event);
    d["conditions"] = of(Kind::condition);
    d["barriers"] = of(Kind::barrier);
    return d;
}

}  // namespace

void bind_statistics(nb::module_& m) {
    m.def("statistics", &statistics);
    m.def("usage", [] {
        const Arena::Usage u = core().arena.usage();
        return nb::make_tuple(u.blocks, u.bytes, u.free_blocks);
    });
    // Gives back the memory of what has been free for so many seconds; 0: of all that is free. Returns bytes.
    m.def("trim", [](u32 idle) {
        return without_gil([&] { return Trim(core().arena, idle).run(kUnlimited); });
    }, nb::arg("idle") = 0);
}

}  // namespace allcores::bindings
