// Blocks of shared memory, recycled. A block is warm: its pages exist and are mapped, so that filling it costs one
// memcpy and no page faults (64 MB: 3 ms instead of 40 and more).
//
// A block's word says all that counts: state and owner in one CAS. The bitmaps beside it are hints where to look, set
// and cleared without a thought of death; recovery sets them right from the words.
#pragma once

#include "memory.hpp"
#include "trim.hpp"

namespace allcores {

// A block may be of a class so far above the one that fits: twice its size. For when a class has all the extents it can list,
// or no addresses are left: then free blocks of other sizes still serve.
inline constexpr u32 kClassesAbove = 5;
// So many small blocks a thread gives back before it looks at the clock.
inline constexpr u32 kGivenUnseen = 1024;

class Arena : public Blocks {
public:
    using Blocks::Blocks;

    // A block of at least `bytes`, owned by this process, its first `bytes` backed by memory. 0: there is no room.
    BlockId take(u64 bytes) {
        return take_filled(bytes, [&](BlockId id) { return pages_.populate(id, bytes); });
    }

    // Likewise, with a copy of these bytes in it.
    BlockId take_copy(const void* from, u64 bytes) {
        return take_filled(bytes, [&](BlockId id) {
            if (untouched(id) && bytes >= kPopulateFrom && pages_.write(id, from, bytes)) return true;
            if (!pages_.populate(id, bytes)) return false;
            copy_bytes(data(id), from, bytes);
            return true;
        });
    }

    // Likewise, but memory comes only where it is touched.
    BlockId take_sparse(u64 bytes) {
        const u32 fits = class_for(bytes);
        for (u32 c = fits; c < std::min(kClasses, fits + kClassesAbove); ++c) {
            BlockId id = reuse(c);
            if (id == 0) id = grow(c);
            if (id != 0) return id;
        }
        return 0;
    }

    // Ends whatever the block was. Large blocks beyond the warm limit give their memory back to the system; so does, with
    // `cool`, one that was not filled.
    void give_back(BlockId id, bool cool = false) {
        auto& word = word_of(id);
        BlockWord w{word.load(std::memory_order_acquire)};
        const u64 size = this->size(id);
        if (size >= kGiveBackFrom) {
            Header& h = seg_.header();
            bool gone = cool || warm() + size > h.warm_limit;
            if (gone) {
                w = w.renewed();
                word.store(w.raw, std::memory_order_relaxed);  // first: who dies now has not said that it is cold
                gone = punch(seg_, offset(id), size);
                STEP("arena.cooled");
            }
            if (gone) w = w.cooled();
            else h.warm_bytes.fetch_add(size);
        }
        // SYNC POINT block-handed-on: all use of the block is over before it can be taken.
        word.store(w.used_again().freed().raw, std::memory_order_release);
        STEP("arena.given_back");
        hint(id);
        thread_local u32 given = 0;
        if (size >= kGiveBackFrom || ++given % kGivenUnseen == 0) tend(*this);
    }

    void set(BlockId id, BlockState state, u16 tag = 0) {
        auto& word = word_of(id);
        const u16 owner = state == BlockState::owned || state == BlockState::root ? seg_.me : tag;
        word.store(BlockWord{word.load()}.with(state, owner).raw, std::memory_order_release);
    }

    // Takes the object in the block for this process alone, if the block is still in the use that was seen. False also
    // while another has it; a claim that the dead left behind is taken over.
    bool claim(BlockId id, BlockWord seen) {
        BlockWord from = seen.with(BlockState::object, 0);
        if (seen.state() == BlockState::claimed && seen.owner() != seg_.me && seg_.is_dead(seen.owner())) from = seen;
        return word_of(id).compare_exchange_strong(from.raw, seen.with(BlockState::claimed, seg_.me).raw);
    }

    // Whether it is on its way with a message of this tag, or the owner's: all that the message may name. Asked before its
    // blocks are touched, so that damaged bytes harm no other block.
    bool travels(BlockId id, u16 tag, Slot owner) const {
        if (!exists(id)) return false;
        const BlockWord w = look(id);
        return w.state() == BlockState::in_flight ? w.owner() == tag : w.is_owned() && w.owner() == owner;
    }
    Pages& pages() { return pages_; }
    bool untouched(BlockId id) const { return fresh_ == id; }  // no page of it ever was: it reads as zeros

    // Frees what the dead owned, after the rings have settled what was on its way.
    void recover(Slot dead) {
        u64 warm = 0;
        for (u32 e = 1; e < seg_.header().extents_used.load(); ++e) {
            for (u32 b = 0; b < blocks_of(e); ++b) {
                const BlockId id = e * kBlocksPerExtent + b;
                const BlockWord w = look(id);
                if (w.state() == BlockState::owned && w.owner() == dead) give_back(id);
                if (look(id).state() != BlockState::free) continue;
                hint(id);
                if (!look(id).cold() && size(id) >= kGiveBackFrom) warm += size(id);
            }
        }
        seg_.header().warm_bytes.store(warm);
    }

    struct Usage {
        u64 blocks = 0, bytes = 0, free_blocks = 0;
    };
    Usage usage() const {
        Usage u;
        for (u32 e = 1; e < seg_.header().extents_used.load(); ++e) {
            for (u32 b = 0; b < blocks_of(e); ++b) {
                const bool free = look(e * kBlocksPerExtent + b).state() == BlockState::free;
                ++(free ? u.free_blocks : u.blocks);
                u.bytes += free ? 0 : class_bytes(extent(e).size_class);
            }
        }
        return u;
    }

private:
    // What others left free may be the memory that is missing: it is given back, idle or not, before there is none.
    template <class Fill>
    BlockId take_filled(u64 bytes, Fill&& fill) {
        for (bool again = false;; again = true) {
            const BlockId id = take_sparse(bytes);
            if (id == 0) return 0;
            if (untouched(id) && bytes >= kGiveBackFrom) make_good(*this, bytes);
            if (!(untouched(id) && bytes >= kAskFrom && !is_memory_for(bytes)) && fill(id)) return id;
            give_back(id, true);
            if (again || Trim(*this, 0).run(kUnlimited) == 0) return 0;
        }
    }

    BlockId reuse(u32 c) {
        SizeClass& sc = size_class(c);
        const u32 words = (sc.used.load(std::memory_order_acquire) + 63) / 64;
        for (u32 w = 0; w < words; ++w) {
            for (u64 some = sc.free_hint[w].load(); some != 0; some &= some - 1) {
                const u32 i = w * 64 + static_cast<u32>(std::countr_zero(some));
                if (const BlockId id = reuse_in(sc.extents[i].load())) return id;
                const u64 bit = u64{1} << (i % 64);
                sc.free_hint[w].fetch_and(~bit);
                if (extent(sc.extents[i].load()).free_hint.load() != 0) sc.free_hint[w].fetch_or(bit);
            }
        }
        return 0;
    }

    // The lowest free block: those below were used last, so they are warm in this process too.
    BlockId reuse_in(u32 e) {
        Extent& ext = extent(e);
        for (u64 some = ext.free_hint.load(); some != 0; some &= some - 1) {
            const u32 b = static_cast<u32>(std::countr_zero(some));
            const u64 bit = u64{1} << b;
            BlockWord w{ext.words[b].load()};
            ext.free_hint.fetch_and(~bit);
            if (w.state() != BlockState::free) {
                // A stale hint; unless it was freed between the two lines above.
                if (BlockWord{ext.words[b].load()}.state() == BlockState::free) hint(e * kBlocksPerExtent + b);
                continue;
            }
            u64 expected = w.raw;
            // SYNC POINT block-handed-on
            if (!ext.words[b].compare_exchange_strong(expected, w.with(BlockState::owned, seg_.me).raw)) {
                // Taken; or taken, given back and its memory with it: then we have cleared a hint that was true.
                if (BlockWord{expected}.state() == BlockState::free) hint(e * kBlocksPerExtent + b);
                continue;
            }
            STEP("arena.taken");
            const u64 size = class_bytes(ext.size_class);
            if (size >= kGiveBackFrom && !w.cold()) seg_.header().warm_bytes.fetch_sub(size);
            fresh_ = w.cold() ? e * kBlocksPerExtent + b : 0;
            return e * kBlocksPerExtent + b;
        }
        return 0;
    }

    // A new extent for the class. Dying in the middle loses address space and nothing else.
    BlockId grow(u32 c) {
        Header& h = seg_.header();
        const u64 size = class_bytes(c);
        const u32 blocks = static_cast<u32>(std::clamp<u64>(kExtentBytes / size, 1, kBlocksPerExtent));
        const u64 bytes = align_up(blocks * size, 4096);
        if (h.next_byte.load() + bytes > seg_.bytes || size_class(c).used.load() >= kExtentsPerClass) return 0;
        u32 e = h.extents_used.load();  // never above kMaxExtents: all who walk the table trust it
        do {
            if (e >= kMaxExtents) return 0;
        } while (!h.extents_used.compare_exchange_weak(e, e + 1));
        STEP("arena.extent_claimed");
        const u64 offset = h.next_byte.fetch_add(bytes);
        if (offset + bytes > seg_.bytes) return 0;
        Extent& ext = extent(e);
        ext.offset = offset;
        ext.size_class = c;
        ext.words[0].store(BlockWord{0}.with(BlockState::owned, seg_.me).raw);
        for (u32 b = 1; b < blocks; ++b) ext.words[b].store(BlockWord{0}.cooled().raw, std::memory_order_relaxed);
        ext.free_hint.store((blocks == 64 ? ~u64{0} : (u64{1} << blocks) - 1) & ~u64{1});
        ext.blocks.store(blocks, std::memory_order_release);
        STEP("arena.extent_made");
        fresh_ = e * kBlocksPerExtent;
        if (!publish(size_class(c), e)) return 0;
        return fresh_;
    }

    bool publish(SizeClass& sc, u32 e) {
        for (u32 i = sc.used.load(); i < kExtentsPerClass; ++i) {
            u32 nobody = 0;
            extent(e).index.store(i, std::memory_order_relaxed);
            const bool mine = sc.extents[i].compare_exchange_strong(nobody, e);
            u32 n = i;
            sc.used.compare_exchange_strong(n, i + 1);  // help on whoever was there first
            if (!mine) continue;
            STEP("arena.extent_listed");
            sc.free_hint[i / 64].fetch_or(u64{1} << (i % 64));
            return true;
        }
        return false;
    }

    static thread_local inline BlockId fresh_ = 0;
    Pages pages_{*this};
};

}  // namespace allcores
