/* How threads share the parts of a call (crew.h, which is private): each part of each round is taken once, by whoever is
 * there, in order. Made for ThreadSanitizer too.
 *
 * usage: pyrnn_c_seats [REPETITIONS]   of what depends on who comes first
 *
 * Prints what was run and exits with the number of failures. */
#include "check.h"
#include "crew.h"
#include <pthread.h>

enum { PARTS = 3, ROUNDS = 500 };

/* Every part of a round adds up the round before: a part that is computed twice, too early or not at all is seen in
 * the sums of all rounds after it. Plain numbers, so that a missing order between threads is a race. */
typedef struct {
    pyrnn_seat seats[PARTS];
    unsigned sum[ROUNDS + 1][PARTS];
} relay;

typedef struct {
    relay *course;
    int own, taken;
} runner;

static void ready(relay *course)
{
    memset(course->sum, 0, sizeof course->sum);
    for (int p = 0; p < PARTS; p++)
        course->sum[0][p] = (unsigned)p;
    crew_init(course->seats, PARTS);
}

static void *walk_course(void *of)
{
    runner *me = of;
    relay *course = me->course;
    pyrnn_walk walk = walk_with(course->seats, PARTS, me->own);
    for (int round = 1; round <= ROUNDS; round++)
        EACH_PART (part, &walk) {
            for (int p = 0; p < PARTS; p++)
                course->sum[round][part] += course->sum[round - 1][p] * (unsigned)(p + 1);
            course->sum[round][part] += (unsigned)part;
            me->taken++;
        }
    return NULL;
}

static int as_it_should(const relay *course)
{
    unsigned before[PARTS], now[PARTS];
    for (int p = 0; p < PARTS; p++)
        before[p] = (unsigned)p;
    for (int round = 1; round <= ROUNDS; round++) {
        for (int p = 0; p < PARTS; p++) {
            now[p] = (unsigned)p;
            for (int q = 0; q < PARTS; q++)
                now[p] += before[q] * (unsigned)(q + 1);
        }
        if (memcmp(now, course->sum[round], sizeof now))
            return 0;
        memcpy(before, now, sizeof now);
    }
    return 1;
}

static void alone(void)
{
    pyrnn_walk single = walk_alone();
    for (int round = 0; round < 3; round++) {
        int parts = 0;
        EACH_PART (part, &single)
            parts += part == 0 ? 1 : 100;
        expect(parts == 1, "a walk without seats has one part a round");
    }
}

/* Whichever seat is the only one taken. */
static void nobody_else(relay *course)
{
    for (int own = 0; own < PARTS; own++) {
        runner lonely = {course, own, 0}, late = {course, (own + 1) % PARTS, 0};
        ready(course);
        walk_course(&lonely);
        expect(lonely.taken == ROUNDS * PARTS && as_it_should(course), "a walk whose partners never come");
        walk_course(&late);
        expect(late.taken == 0 && as_it_should(course), "a late walker finds all rounds done");
    }
}

static void all_at_once(relay *course, int repetitions)
{
    for (int repetition = 0; repetition < repetitions; repetition++) {
        pthread_t threads[PARTS];
        runner all[PARTS];
        int taken = 0;
        ready(course);
        for (int p = 0; p < PARTS; p++) {
            all[p] = (runner){course, p, 0};
            if (pthread_create(&threads[p], NULL, walk_course, &all[p]))
                abort();
        }
        for (int p = 0; p < PARTS; p++) {
            pthread_join(threads[p], NULL);
            taken += all[p].taken;
        }
        expect(taken == ROUNDS * PARTS && as_it_should(course), "every part of every round is taken once");
    }
}

int main(int argc, char **argv)
{
    relay *course = buffer(sizeof *course);
    alone();
    nobody_else(course);
    all_at_once(course, argc > 1 ? atoi(argv[1]) : 100);
    release();
    printf("seats: alone, late, and %d at once\n%d failures\n", PARTS, failures);
    return failures > 99 ? 99 : failures;
}
