/* How those who share a call's rounds wait for each other. */
#include "crew.h"

#include <sched.h>
#include <time.h>

static int seat_claim(pyrnn_seat *seat, long long round)
{
    return atomic_load_explicit(&seat->claimed, memory_order_relaxed) == round &&
           atomic_compare_exchange_strong_explicit(&seat->claimed, &round, round + 1, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

static int seat_done(pyrnn_seat *seat, long long round)
{
    return atomic_load_explicit(&seat->done, memory_order_acquire) > round;
}

long long pyrnn_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

void pyrnn_yield(void)
{
    const long long is_long = 500000;
    const long long before = pyrnn_now();
    sched_yield();
    const long long lost = pyrnn_now() - before;
    if (lost > is_long)
        pyrnn_crew_busy(lost);
}

/* Waits for a part to be done (0), or claims it when its owner does not (1). Spins for some microseconds, then gives
 * the core away at every turn: whoever has the part may want it. */
static int seat_wait(pyrnn_seat *seat, long long round)
{
    enum { AT_ONCE = 100, PATIENCE = 300 }; /* looks: without a pause between them, ... */
    for (int spins = 0; !seat_done(seat, round); spins++) {
        int patience = atomic_load_explicit(&seat->absent, memory_order_relaxed) ? 0 : PATIENCE;
        if (spins >= patience && seat_claim(seat, round)) {
            atomic_store_explicit(&seat->absent, 1, memory_order_relaxed);
            return 1;
        }
        if (spins >= AT_ONCE)
            wait_a_turn(spins);
    }
    return 0;
}

/* Adds a piece to those of this round; whether it was not among them. */
static int piece_add(atomic_ullong *pieces, long long number, int piece)
{
    const unsigned long long round = (unsigned long long)number, bit = 1ull << piece;
    unsigned long long known = atomic_load_explicit(pieces, memory_order_relaxed), of_round;
    do {
        of_round = known >> MOST_PIECES == round ? known : round << MOST_PIECES;
        if (of_round & bit)
            return 0;
    } while (!atomic_compare_exchange_weak_explicit(pieces, &known, of_round | bit, memory_order_acq_rel,
                                                    memory_order_relaxed));
    return 1;
}

int pyrnn_piece_claim(const pyrnn_walk *me, int piece)
{
    return piece_add(&me->seats->claimed_pieces, me->round, piece);
}

void pyrnn_piece_done(const pyrnn_walk *me, int piece)
{
    piece_add(&me->seats->done_pieces, me->round, piece);
}

void pyrnn_pieces_await(const pyrnn_walk *me, int n)
{
    const unsigned long long all = (1ull << n) - 1, done = (unsigned long long)me->round << MOST_PIECES | all;
    for (int spins = 0;; spins++) {
        const unsigned long long known = atomic_load_explicit(&me->seats->done_pieces, memory_order_acquire);
        if ((known & (~0ull << MOST_PIECES | all)) == done)
            return;
        wait_a_turn(spins);
    }
}

int pyrnn_walk_next(pyrnn_walk *me)
{
    if (me->at < 0) {
        me->at = 0;
        pyrnn_seat *own = &me->seats[me->own];
        if (seat_claim(own, me->round)) {
            if (atomic_load_explicit(&own->absent, memory_order_relaxed))
                atomic_store_explicit(&own->absent, 0, memory_order_relaxed);
            return me->own;
        }
    }
    for (; me->at < me->parts; me->at++)
        if (seat_wait(&me->seats[me->at], me->round))
            return me->at;
    me->at = -1;
    me->round++;
    return -1;
}
