/* The threads that help with calls: kept from one call to the next, since starting one costs more than most calls
 * take. A caller posts its work and begins at once; helpers that wake up in time take seats. When the caller is
 * through, nobody else may sit down, and it waits for those who have.
 *
 * Helpers look out for the next call for some microseconds, as long as a program needs from one step of training to
 * the next, and then sleep. A forked child has none of its parent's threads and begins with an empty pool. */
#include "crew.h"

#ifdef PYRNN_THREADS
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <time.h>

typedef struct post post;
struct post {
    void (*work)(void *context, int number);
    void *context;
    int most, seated; /* seats, the caller's with them, and how many are taken */
    atomic_int at_work; /* helpers */
    post *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all below but `posted` */
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static post *posts; /* that have free seats */
static int helpers, asleep;
static atomic_uint posted; /* changes with every post */

/* Called with the lock held. */
static post *free_seat(void)
{
    for (post *p = posts; p; p = p->next)
        if (p->seated < p->most)
            return p;
    return NULL;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Whether there was a post since `seen` within the time that a helper looks out for one. */
static int look_out(unsigned seen)
{
    const double seconds = 50e-6;
    enum { SPINS = 50 }; /* between two looks at the clock */
    const double end = now() + seconds;
    do
        for (int i = 0; i < SPINS; i++) {
            if (atomic_load_explicit(&posted, memory_order_acquire) != seen)
                return 1;
            spin_pause();
        }
    while (now() < end);
    return 0;
}

static void *help(void *nothing)
{
    pthread_mutex_lock(&lock);
    for (;;) {
        post *p = free_seat();
        if (p) {
            int number = p->seated++;
            atomic_fetch_add_explicit(&p->at_work, 1, memory_order_relaxed);
            pthread_mutex_unlock(&lock);
            p->work(p->context, number);
            atomic_fetch_sub_explicit(&p->at_work, 1, memory_order_release); /* p is gone from here on */
        } else {
            unsigned seen = atomic_load_explicit(&posted, memory_order_relaxed);
            pthread_mutex_unlock(&lock);
            if (!look_out(seen)) {
                pthread_mutex_lock(&lock);
                asleep++;
                while (!free_seat())
                    pthread_cond_wait(&wake, &lock);
                asleep--;
                continue;
            }
        }
        pthread_mutex_lock(&lock);
    }
    return nothing;
}

/* One more helper, if the system grants it. Called with the lock held. Signals are for the program's own threads. */
static void hire(void)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, NULL, help, NULL) == 0) {
        pthread_detach(thread);
        helpers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void before_fork(void) { pthread_mutex_lock(&lock); }
static void in_parent(void) { pthread_mutex_unlock(&lock); }

static void in_child(void)
{
    lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    wake = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    posts = NULL;
    helpers = asleep = 0;
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, in_parent, in_child);
}

static void announce(post *mine)
{
    pthread_mutex_lock(&lock);
    while (helpers < mine->most - 1) {
        int before = helpers;
        hire();
        if (helpers == before)
            break;
    }
    mine->next = posts;
    posts = mine;
    atomic_fetch_add_explicit(&posted, 1, memory_order_release);
    for (int n = asleep < mine->most - 1 ? asleep : mine->most - 1; n > 0; n--)
        pthread_cond_signal(&wake);
    pthread_mutex_unlock(&lock);
}

static void withdraw(post *mine)
{
    enum { SPINS = 1000 };
    pthread_mutex_lock(&lock);
    post **p = &posts;
    while (*p != mine)
        p = &(*p)->next;
    *p = mine->next;
    pthread_mutex_unlock(&lock);
    for (int spins = 0; atomic_load_explicit(&mine->at_work, memory_order_acquire); spins++)
        if (spins < SPINS)
            spin_pause();
        else
            sched_yield();
}

void pyrnn_crew_run(void (*work)(void *context, int number), void *context, int most)
{
    if (most == 1) {
        work(context, 0);
        return;
    }
    post mine = {.work = work, .context = context, .most = most, .seated = 1};
    announce(&mine);
    work(context, 0);
    withdraw(&mine);
}

int pyrnn_crew_possible(void) { return 1; }

#else

void pyrnn_crew_run(void (*work)(void *context, int number), void *context, int most)
{
    (void)most;
    work(context, 0);
}

int pyrnn_crew_possible(void) { return 0; }

#endif
