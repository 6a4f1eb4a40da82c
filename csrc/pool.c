/* The threads that help with calls: kept from one call to the next, since starting one costs more than most calls
 * take. A caller posts its work and begins at once; helpers that wake up in time take seats. When the caller is
 * through, nobody else may sit down, and it waits for those who have.
 *
 * Helpers look out for the next call for some microseconds, as long as a program needs from one step of training to
 * the next, and then sleep. A forked child has none of its parent's threads and begins with an empty pool. A fork waits
 * for helpers that the system is about to start: there they may hold locks of an allocator or a sanitizer, which nobody
 * would open in the child. It waits for a second at most, in case another library has closed what they need. */
#ifdef __linux__
#define _GNU_SOURCE /* sched_getcpu, sched_setaffinity */
#endif
#include "crew.h"

#ifdef PYRNN_THREADS
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

typedef struct post post;
struct post {
    void (*work)(void *context, int number);
    void *context;
    int most, seated; /* seats, the caller's with them, and how many are taken */
    atomic_int at_work; /* helpers */
    post *next;
};

enum { MOST_HELPERS = 127 };

typedef struct {
    pthread_cond_t wake;
    int asleep;
#ifdef __linux__
    pid_t id;
    int moved; /* `cores` are to be put back */
    cpu_set_t cores; /* that it may use */
#endif
} helper;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all below but `posted` */
static post *posts; /* that have free seats */
static helper pool[MOST_HELPERS];
static int helpers;
static atomic_int starting; /* helpers that have been hired and do not run yet */
static atomic_uint posted; /* changes with every post */
static atomic_int awake; /* helpers that are not asleep */
static atomic_int brief_calls; /* in a row, of which each came soon after the call before it */
static atomic_llong last_end; /* nanoseconds of the clock: of the last call of several parts */
static atomic_llong alone_until; /* nanoseconds of the clock: the machine was busy a short while ago */
static atomic_llong alone_for; /* nanoseconds */

/* Called with the lock held. */
static post *free_seat(void)
{
    for (post *p = posts; p; p = p->next)
        if (p->seated < p->most)
            return p;
    return NULL;
}

/* What took the core may have been the threads of another library, which look out for work for a millisecond and then sleep: so
 * calls do without helpers for as long as the core was lost, and for four times as long as before where it is lost again
 * within that time of the end. A program that has the core for good, and gives it back after slices of 3 to 5 ms, so
 * takes a tenth of the time at most. */
void pyrnn_crew_busy(long long lost)
{
    const long long most = 50000000, now = pyrnn_now();
    const long long until = atomic_load_explicit(&alone_until, memory_order_relaxed);
    long long alone = atomic_load_explicit(&alone_for, memory_order_relaxed);
    alone = now < until + alone && 4 * alone > lost ? 4 * alone : lost;
    if (alone > most)
        alone = most;
    if (now + alone < until) /* a short loss does not end what a long one began */
        return;
    atomic_store_explicit(&alone_for, alone, memory_order_relaxed);
    atomic_store_explicit(&alone_until, now + alone, memory_order_relaxed);
}

/* How long a helper looks out for the next post, in nanoseconds. */
static const long long PATIENCE = 100000;

/* Whether there was a post since `seen` within that time. */
static int look_out(unsigned seen)
{
    enum { SPINS = 50 }; /* between two looks at the clock */
    const long long end = pyrnn_now() + PATIENCE;
    do
        for (int i = 0; i < SPINS; i++) {
            if (atomic_load_explicit(&posted, memory_order_acquire) != seen)
                return 1;
            spin_pause();
        }
    while (pyrnn_now() < end);
    return 0;
}

/* Linux likes to wake a thread on the core of who wakes it, where it then waits for milliseconds while the caller
 * computes and other cores are idle. So it is barred from that core until it runs elsewhere. Both with the lock held. */
static void bar_from_here(helper *h)
{
#ifdef __linux__
    cpu_set_t others;
    int here = sched_getcpu();
    if (h->moved || here < 0 || here >= CPU_SETSIZE || sched_getaffinity(h->id, sizeof(others), &others))
        return;
    h->cores = others;
    CPU_CLR(here, &others);
    h->moved = CPU_COUNT(&others) > 0 && !sched_setaffinity(h->id, sizeof(others), &others);
#else
    (void)h;
#endif
}

static void unbar(helper *h)
{
#ifdef __linux__
    if (h->moved)
        sched_setaffinity(h->id, sizeof(h->cores), &h->cores);
    h->moved = 0;
#else
    (void)h;
#endif
}

static void *help(void *self)
{
    helper *me = self;
    atomic_fetch_sub_explicit(&starting, 1, memory_order_release);
    pthread_mutex_lock(&lock);
#ifdef __linux__
    me->id = (pid_t)syscall(SYS_gettid);
#endif
    for (;;) {
        post *p = free_seat();
        if (p) {
            int number = p->seated++;
            atomic_fetch_add_explicit(&p->at_work, 1, memory_order_relaxed);
            pthread_mutex_unlock(&lock);
            p->work(p->context, number);
            atomic_fetch_sub_explicit(&p->at_work, 1, memory_order_release); /* p is gone from here on */
            pthread_mutex_lock(&lock);
            continue;
        }
        unsigned seen = atomic_load_explicit(&posted, memory_order_relaxed);
        pthread_mutex_unlock(&lock);
        int found = look_out(seen);
        pthread_mutex_lock(&lock);
        if (found || free_seat())
            continue;
        me->asleep = 1;
        atomic_fetch_sub_explicit(&awake, 1, memory_order_relaxed);
        while (me->asleep)
            pthread_cond_wait(&me->wake, &lock);
        unbar(me);
    }
    return self;
}

/* One more helper, if the system grants it. Called with the lock held. Signals are for the program's own threads. */
static int hire(void)
{
    pthread_t thread;
    sigset_t all, before;
    helper *new = &pool[helpers];
    *new = (helper){.wake = PTHREAD_COND_INITIALIZER};
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    atomic_fetch_add_explicit(&starting, 1, memory_order_relaxed);
    int failed = pthread_create(&thread, NULL, help, new);
    if (failed)
        atomic_fetch_sub_explicit(&starting, 1, memory_order_relaxed);
    else {
        pthread_detach(thread);
        helpers++;
        atomic_fetch_add_explicit(&awake, 1, memory_order_relaxed);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return !failed;
}

static void before_fork(void)
{
    const long long end = pyrnn_now() + 1000000000;
    pthread_mutex_lock(&lock);
    while (atomic_load_explicit(&starting, memory_order_acquire) > 0 && pyrnn_now() < end) {
        pthread_mutex_unlock(&lock);
        sched_yield();
        pthread_mutex_lock(&lock);
    }
}

static void in_parent(void) { pthread_mutex_unlock(&lock); }

static void in_child(void)
{
    lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    posts = NULL;
    helpers = 0;
    atomic_store(&starting, 0);
    atomic_store(&awake, 0);
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, in_parent, in_child);
}

/* Who sleeps is woken up, unless the call is brief. */
static void announce(post *mine, int brief)
{
    int wanted = brief ? 0 : mine->most - 1;
    pthread_mutex_lock(&lock);
    while (helpers < wanted && helpers < MOST_HELPERS && hire())
        ;
    mine->next = posts;
    posts = mine;
    atomic_fetch_add_explicit(&posted, 1, memory_order_release);
    for (int i = 0; i < helpers && wanted > 0; i++)
        if (pool[i].asleep) {
            bar_from_here(&pool[i]);
            pool[i].asleep = 0;
            atomic_fetch_add_explicit(&awake, 1, memory_order_relaxed);
            pthread_cond_signal(&pool[i].wake);
            wanted--;
        }
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
            pyrnn_yield();
}

/* Waking a sleeper takes about as long as a call of 100 us gains by his help. But where such calls follow each other he stays
 * awake from one to the next, and so after some of them he is woken up. */
static int is_brief(double flops, long long now)
{
    const double most_flops = 8e6;
    enum { SOME = 8 };
    if (flops >= most_flops)
        return 0;
    const int soon = now - atomic_load_explicit(&last_end, memory_order_relaxed) < PATIENCE;
    const int calls = soon ? atomic_load_explicit(&brief_calls, memory_order_relaxed) + 1 : 0;
    atomic_store_explicit(&brief_calls, calls < SOME ? calls : SOME, memory_order_relaxed);
    return calls < SOME;
}

void pyrnn_crew_run(void (*work)(void *context, int number), void *context, int most, double flops)
{
    if (most == 1) {
        work(context, 0);
        return;
    }
    const long long now = pyrnn_now();
    const int brief = is_brief(flops, now);
    if (now < atomic_load_explicit(&alone_until, memory_order_relaxed) ||
        (brief && atomic_load_explicit(&awake, memory_order_relaxed) == 0))
        work(context, 0);
    else {
        post mine = {.work = work, .context = context, .most = most, .seated = 1};
        announce(&mine, brief);
        work(context, 0);
        withdraw(&mine);
    }
    atomic_store_explicit(&last_end, pyrnn_now(), memory_order_relaxed);
}

int pyrnn_crew_possible(void) { return 1; }

#else

void pyrnn_crew_run(void (*work)(void *context, int number), void *context, int most, double flops)
{
    (void)most, (void)flops;
    work(context, 0);
}

int pyrnn_crew_possible(void) { return 0; }

void pyrnn_crew_busy(long long lost) { (void)lost; }

#endif
