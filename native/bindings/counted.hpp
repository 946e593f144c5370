// Channels that count, for Python: queues with max_bytes, and those that can be joined.
#pragma once

#include "core.hpp"

namespace allcores::bindings {

// How many bytes the message takes, and at least 1.
u64 bytes_of(const Message& m);

// Notes that in the message.
void weigh(Message& m);

// False: the deadline came. `sent` is never full otherwise.
bool wait_to_put(CountedView v, Channel& c, const Message& m, i64 deadline, Sent& sent);
bool wait_to_take(CountedView v, Channel& c, Message& m, i64 deadline);

void task_done(CountedView v);
void join(CountedView v, Channel& c);
u64 recover_items(CountedView v);

// Before a look at the numbers: whoever died inside may have left them half changed.
void mend(CountedView v);

// (bytes, unfinished, in hands, of those in hands of the dead)
nb::tuple count(CountedView v, Channel& c);

}  // namespace allcores::bindings
