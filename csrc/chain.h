/* How layers of a stack run side by side. Private.
 *
 * Each layer counts the steps whose results it has written, and the one that reads them keeps behind. A layer runs in
 * one thread, and one that is waited for has always begun (chain.c), so that waiting comes to an end whoever comes to
 * help, or nobody. */
#ifndef PYRNN_CHAIN_H
#define PYRNN_CHAIN_H

#include "crew.h"

/* On a line of its own: it is written while others look at it. */
typedef struct {
    _Alignas(64) atomic_llong steps; /* in the order in which they are computed: backward from the last one */
} pyrnn_progress;

/* Steps for which a layer waits at a time. More, and threads are idle for longer at both ends of the stack; fewer, and
 * the weights of the input are read more often: with 4, training of layers that just fit the cache took a tenth longer. */
enum { LEAD = 8 };

static inline void progress_tell(pyrnn_progress *progress, long long steps)
{
    atomic_store_explicit(&progress->steps, steps, memory_order_release);
}

/* chain.c: waits for so many steps and returns how many there are. */
long long pyrnn_await(pyrnn_progress *progress, long long steps);

#endif
