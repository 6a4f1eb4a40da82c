/* A process that is forked while helpers (crew.h, which is private) are being started: what the system holds at that time, such
 * as a lock of its allocator, must be open in the child.
 *
 * Prints what was run and exits with the number of failures. Linked with --wrap=pthread_create. */
#include "check.h"
#include "crew.h"
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SEATS = 4, GENERATIONS = 5 };

/* A system whose threads hold a lock, and take their time, before they come to the function that they are for. */
static pthread_mutex_t of_system = PTHREAD_MUTEX_INITIALIZER;

typedef struct {
    void *(*function)(void *);
    void *argument;
} beginning;

static void *begin(void *of)
{
    const beginning b = *(beginning *)of;
    const struct timespec long_enough = {.tv_nsec = 20000000};
    free(of);
    pthread_mutex_lock(&of_system);
    nanosleep(&long_enough, NULL);
    pthread_mutex_unlock(&of_system);
    return b.function(b.argument);
}

int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int __wrap_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*function)(void *),
                          void *argument)
{
    beginning *b = malloc(sizeof *b);
    if (!b)
        abort();
    *b = (beginning){function, argument};
    return __real_pthread_create(thread, attributes, begin, b);
}

static void work(void *context, int number)
{
    int *seats = context;
    seats[number]++;
}

/* Whether this process, and each that descends from it, computes and finds the lock open. */
static int generation(int left)
{
    const double worth_it = 1e9; /* operations, for which helpers are called */
    int seats[SEATS] = {0}, status;
    pyrnn_crew_run(work, seats, SEATS, worth_it);
    int well = seats[0] == 1;
    for (int i = 1; i < SEATS; i++)
        well &= seats[i] <= 1;
    if (left == 0)
        return well;
    const pid_t child = fork();
    if (child == 0)
        _exit(!(pthread_mutex_trylock(&of_system) == 0 && pthread_mutex_unlock(&of_system) == 0 &&
                generation(left - 1)));
    return well & (child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

int main(void)
{
    alarm(60); /* ends what hangs */
    expect(generation(GENERATIONS), "a child finds closed what its parent's helpers need to start");
    printf("forks: %d generations\n%d failures\n", GENERATIONS, failures);
    return failures > 99 ? 99 : failures;
}
