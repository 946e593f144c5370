// What memory costs beyond what is alive, over a day's mix of sizes, in the small and with a clock of its own:
// `python -m bench.fragmentation` plays it in full.
#include <algorithm>
#include <cmath>
#include <limits>

inline unsigned short the_second = 1;
#define ALLCORES_SECOND the_second

#include "check.hpp"

using namespace check;

namespace {

constexpr u64 kPeak = 160 << 20;

struct Phase {
    u64 least, most;  // log-uniform
    double live;      // of the peak
};
constexpr u64 kKb = 1 << 10, kMb = 1 << 20;
constexpr Phase kDay[] = {{256, 16 * kMb, 1.0},     {256, 64 * kKb, 0.6},   {kMb, 4 * kMb, 1.0},  {4 * kKb, kMb, 0.7},
                          {8 * kMb, 16 * kMb, 1.0}, {256, 16 * kMb, 0.55}, {256, 16 * kMb, 0.9}};

struct Item {
    BlockId id;
    u64 bytes;
};

struct Day {
    World w{u64{4} << 30, u64{1} << 30};
    Random random{11};
    std::vector<Item> items;
    u64 alive = 0, turned_over = 0;
    std::vector<double> ratios;

    void add(const Phase& p) {
        const double part = static_cast<double>(random.below(1 << 20)) / (1 << 20);
        const double least = static_cast<double>(p.least), most = static_cast<double>(p.most);
        const u64 bytes = static_cast<u64>(least * std::pow(most / least, part));
        const BlockId id = w.arena.take(bytes);
        CHECK(id != 0);
        for (u64 at = 0; at < bytes; at += kPage) w.arena.data(id)[at] = 1;
        items.push_back({id, bytes});
        alive += bytes;
        turned_over += bytes;
    }
    void drop() {
        std::swap(items[random.below(items.size())], items.back());
        w.arena.give_back(items.back().id);
        alive -= items.back().bytes;
        items.pop_back();
    }
    // It is a second later: somebody looks, and nobody does so in between, however long that takes by other clocks.
    void second() {
        ++the_second;
        w.seg.header().tended.store(0);
        tend(w.arena);
        w.seg.header().tended.store(std::numeric_limits<i64>::max());
        if (alive >= kPeak / 2) ratios.push_back(static_cast<double>(backed_bytes(w.seg)) / static_cast<double>(alive));
    }
};

// Backed by memory, divided by alive: at the end of each phase, and the worst.
struct Costs {
    std::vector<double> ends;
    double worst = 0;
};

// An eighth of what is alive is replaced each second; the live set grows or shrinks within eight.
Costs play(u32 idle) {
    Day day;
    day.w.seg.header().idle_seconds = idle;
    Costs costs;
    for (const Phase& p : kDay) {
        const double before = static_cast<double>(day.alive), after = p.live * static_cast<double>(kPeak);
        for (u32 second = 1; second <= 24; ++second) {
            const u64 aim = static_cast<u64>(before + (after - before) * std::min(second, 8U) / 8);
            const u64 until = day.turned_over + day.alive / 8;
            do {
                while (day.alive >= aim) day.drop();
                while (day.alive < aim) day.add(p);
            } while (day.turned_over < until);
            day.second();
        }
        costs.ends.push_back(day.ratios.back());
    }
    costs.worst = *std::max_element(day.ratios.begin(), day.ratios.end());
    return costs;
}

}  // namespace

TEST(a_day) {
    const Costs costs = play(5);
    for (const double end : costs.ends) CHECK(end < 1.4);
    CHECK(costs.worst < 1.5);
}

// Without giving back, it keeps what each size once needed: it is the giving back that was tested.
TEST(a_day_of_keeping_all) { CHECK(play(0).worst > 2); }
