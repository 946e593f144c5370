// The name of this process in ps, top and their kin.
#include <sys/prctl.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "core.hpp"

namespace allcores::bindings {

namespace {

// The memory of the arguments that this process was started with, or its parent by fork: what the system shows.
struct Arguments {
    char* begin = nullptr;
    std::size_t bytes = 0;
};

Arguments find_arguments() {
    char text[2048];
    FILE* f = std::fopen("/proc/self/stat", "re");
    if (f == nullptr) return {};
    const std::size_t n = std::fread(text, 1, sizeof(text) - 1, f);
    std::fclose(f);
    text[n] = '\0';
    const char* at = std::strrchr(text, ')');  // the second field may hold anything but this; the third begins behind it
    for (int field = 2; at != nullptr && field < 48; ++field) at = std::strchr(at + 1, ' ');
    unsigned long begin = 0;
    unsigned long end = 0;
    if (at == nullptr || std::sscanf(at, " %lu %lu", &begin, &end) != 2 || begin == 0 || end <= begin) return {};
    return {reinterpret_cast<char*>(begin), end - begin};
}

// The interpreter has copies of its arguments. What is longer than they are is cut. The short name has no blanks: Python
// from 3.12 on counts those in /proc/self/stat to find the number of threads, and would warn of a fork that has but one.
void set_title(const char* title) {
    static const Arguments arguments = find_arguments();
    char name[16] = {};
    std::strncpy(name, title, sizeof(name) - 1);
    std::replace(name, name + sizeof(name), ' ', '_');
    prctl(PR_SET_NAME, name);
    if (arguments.bytes == 0) return;
    std::memset(arguments.begin, 0, arguments.bytes);
    std::strncpy(arguments.begin, title, arguments.bytes - 1);
}

}  // namespace

void bind_title(nb::module_& m) { m.def("set_title", &set_title, nb::arg("title")); }

}  // namespace allcores::bindings
