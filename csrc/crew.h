/* How the threads of one call share its work. Private.
 *
 * A call's work is a row of rounds, each of the same number of parts; no part of a round begins before every part of
 * the round before is done. Everybody who takes part walks through all rounds: claims his own part, and then waits
 * for the others' or, where nobody has begun one, claims it too. So nobody is needed: a thread that comes late finds
 * its first rounds done, one that the system has put aside is missed only for the part that it had begun, and with
 * no helper at all the caller does everything.
 *
 * A claimed part is computed by one thread, and what a part computes does not depend on who does it.
 */
#ifndef PYRNN_CREW_H
#define PYRNN_CREW_H

#include <stdatomic.h>
#include <stddef.h>

/* A part's counters, on lines of their own: those who watch for the end do not slow down its owner's claims. */
typedef struct {
    _Alignas(64) atomic_llong claimed; /* rounds in which it has been claimed */
    _Alignas(64) atomic_llong done; /* rounds in which it is done */
    atomic_int absent; /* its owner was missed last time, or has not come yet: no use waiting for his claim */
    /* Of the first seat: a round's number, and which of its pieces have been claimed and which are done. */
    _Alignas(64) atomic_ullong claimed_pieces, done_pieces;
} pyrnn_seat;

/* Somebody's walk through the rounds. Without seats: through rounds of one part, alone. */
typedef struct {
    pyrnn_seat *seats;
    int parts, own;
    int at; /* of this round: -1 before anything, else the first part that may not be done */
    long long round;
} pyrnn_walk;

static inline pyrnn_walk walk_alone(void) { return (pyrnn_walk){.parts = 1, .at = -1}; }

static inline pyrnn_walk walk_with(pyrnn_seat *seats, int parts, int own)
{
    return (pyrnn_walk){.seats = seats, .parts = parts, .own = own, .at = -1};
}

static inline void crew_init(pyrnn_seat *seats, int parts)
{
    for (int p = 0; p < parts; p++) {
        atomic_init(&seats[p].claimed, 0);
        atomic_init(&seats[p].absent, p > 0);
        atomic_init(&seats[p].done, 0);
        atomic_init(&seats[p].claimed_pieces, 0);
        atomic_init(&seats[p].done_pieces, 0);
    }
}

/* crew.c, out of line: a time loop has half a dozen rounds, and there are many time loops. */
int pyrnn_walk_next(pyrnn_walk *me);

/* The next part of this round that is to be computed, and then reported to walk_done; -1 at the end of the round. */
static inline int walk_next(pyrnn_walk *me)
{
    if (me->seats)
        return pyrnn_walk_next(me);
    me->at = me->at < 0 ? 0 : -1;
    return me->at;
}

static inline void walk_done(pyrnn_walk *me, int part)
{
    if (me->seats)
        atomic_store_explicit(&me->seats[part].done, me->round + 1, memory_order_release);
}

/* for (each part that this walk takes in a round) ... */
#define EACH_PART(part, me) for (int part; (part = walk_next(me)) >= 0; walk_done(me, part))

/* What parts of a round have in common may be cut into pieces, which whoever has time within his part claims: each is claimed
 * once a round. Who waits for pieces waits for threads that are at them. */
enum { MOST_PIECES = 32 };
int pyrnn_piece_claim(const pyrnn_walk *me, int piece);
void pyrnn_piece_done(const pyrnn_walk *me, int piece);
void pyrnn_pieces_await(const pyrnn_walk *me, int n); /* the first n */

/* A part's share of n equal tasks. */
typedef struct {
    ptrdiff_t from, to;
} share;

static inline share share_of(ptrdiff_t n, int part, int parts)
{
    ptrdiff_t each = n / parts, more = n % parts, from = each * part + (part < more ? part : more);
    return (share){from, from + each + (part < more)};
}

/* crew.c: nanoseconds of a clock; a moment between two looks; the core given away for a moment, which reports when somebody
 * else then had it for long. */
long long pyrnn_now(void);
void pyrnn_yield(void);

static inline void spin_pause(void)
{
#if defined __x86_64__ || defined __i386__
    __builtin_ia32_pause();
#elif defined __aarch64__
    __asm__ volatile("yield");
#endif
}

/* Between two looks at what others are at: for some microseconds a moment, then the core is given away at every turn. */
static inline void wait_a_turn(int spins)
{
    enum { SPINS = 1000 };
    if (spins < SPINS)
        spin_pause();
    else
        pyrnn_yield();
}

/* pool.c: calls work(context, number) with number 0 in this thread and with others, each at most once and each below
 * `most`, in as many threads as have time for it; returns when none of them is at it any more. `flops` are about the
 * operations of it all: for a brief call nobody is woken up. */
void pyrnn_crew_run(void (*work)(void *context, int number), void *context, int most, double flops);

/* pool.c: somebody who waited was put aside for so many nanoseconds. The machine is busy: calls do without helpers for a
 * while, for one that is put aside within a part keeps all others waiting. */
void pyrnn_crew_busy(long long lost);

/* pool.c: whether there can be more than the caller. */
int pyrnn_crew_possible(void);

#endif
