// How much memory there is to be had: of the machine, and of every container (cgroup, version 1 or 2) this process is in.
// Asked before much fresh memory is taken, because the alternative to a refusal is the out-of-memory killer.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <algorithm>

#include "layout.hpp"

namespace allcores {

// Left for everything else in the machine or container.
inline constexpr u64 kReserve = 8 << 20;
inline constexpr u64 kUnlimited = UINT64_MAX;

// The number after `name` in a file of "name number" lines, or the only one where `name` is empty; `otherwise` where there is
// none, or it says "max".
inline u64 number_in(const char* file, const char* name, u64 otherwise) {
    std::FILE* f = std::fopen(file, "re");
    if (f == nullptr) return otherwise;
    char line[256];
    u64 found = otherwise;
    const std::size_t n = std::strlen(name);
    while (std::fgets(line, sizeof line, f) != nullptr) {
        if (std::strncmp(line, name, n) != 0 || (n != 0 && line[n] != ' ' && line[n] != ':')) continue;
        char* end = nullptr;
        const char* digits = line + n + (n != 0 ? 1 : 0);
        const u64 number = std::strtoull(digits, &end, 10);
        if (end != digits) found = number;
        break;
    }
    std::fclose(f);
    return found;
}

// What one level of a hierarchy leaves. Its cached files count as free: the kernel drops them before it kills.
inline u64 left_in_cgroup(const char* dir, bool v2, u64 swap) {
    char path[1200];
    const auto file = [&](const char* name) { return std::snprintf(path, sizeof path, "%s/%s", dir, name), path; };
    const u64 limit = number_in(file(v2 ? "memory.max" : "memory.limit_in_bytes"), "", kUnlimited);
    if (limit >= kUnlimited / 4) return kUnlimited;  // version 1 says "none" by a number of about 2^63
    const u64 used = number_in(file(v2 ? "memory.current" : "memory.usage_in_bytes"), "", 0);
    const char* stat = file("memory.stat");
    const u64 cached = number_in(stat, v2 ? "inactive_file" : "total_inactive_file", 0) +
                       number_in(stat, v2 ? "active_file" : "total_active_file", 0);
    u64 swappable = 0;
    if (v2) {
        const u64 most = number_in(file("memory.swap.max"), "", swap);
        swappable = std::min(swap, most - std::min(most, number_in(file("memory.swap.current"), "", 0)));
    }
    return limit + cached + swappable - std::min(limit + cached + swappable, used);
}

// Bytes. `root` is where the machine's files lie: "" but in tests.
inline u64 available_memory(const char* root) {
    char path[1024];
    std::snprintf(path, sizeof path, "%s/proc/meminfo", root);
    const u64 swap = number_in(path, "SwapFree", 0) * 1024;
    const u64 free = number_in(path, "MemAvailable", kUnlimited / 1024 - swap / 1024 - 1) * 1024;
    u64 least = free + swap;
    std::snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    std::FILE* f = std::fopen(path, "re");
    if (f == nullptr) return least;
    char line[512];
    while (std::fgets(line, sizeof line, f) != nullptr) {
        line[std::strcspn(line, "\n")] = '\0';
        char* controllers = std::strchr(line, ':');
        char* group = controllers != nullptr ? std::strchr(controllers + 1, ':') : nullptr;
        if (group == nullptr) continue;
        *group++ = '\0';
        const bool v2 = controllers[1] == '\0';
        if (!v2 && std::strcmp(controllers + 1, "memory") != 0) continue;
        // Every level up to the top limits what is below. Inside a container the top may be all that can be seen.
        for (;;) {
            std::snprintf(path, sizeof path, "%s/sys/fs/cgroup%s%s", root, v2 ? "" : "/memory", group);
            least = std::min(least, left_in_cgroup(path, v2, swap));
            char* slash = std::strrchr(group, '/');
            if (slash == nullptr) break;
            *slash = '\0';
        }
    }
    std::fclose(f);
    return least;
}

// Whether so many bytes are to be had, and some are left for others. A refusal by this is an error with a text; later it would be
// the out-of-memory killer. Costs a tenth of a millisecond.
inline bool is_memory_for(u64 bytes) {
    const u64 available = available_memory("");
    return available > kReserve && available - kReserve >= bytes;
}

}  // namespace allcores
