/* How threads share a time loop: each takes some of the rows and never waits, or, where rows are too few, some of
 * the units of every row and waits for the others once a phase. */

/* A thread's part: rows first, first + step, ... and panels from..to-1. */
typedef struct {
    ptrdiff_t first, step;
    share panels;
} part;

/* Panels are shared out in groups of `grain`, which no product may cut. */
INLINE part part_of(const pyrnn_job *job, int grain, int thread)
{
    ptrdiff_t panels = panels_of(job->H);
    if (!job->by_units)
        return (part){thread, job->threads, {0, panels}};
    share groups = share_of((panels + grain - 1) / grain, thread, job->threads);
    return (part){0, 1, {groups.from * grain, min_of(groups.to * grain, panels)}};
}

/* Whether a matrix of so many reals, which a thread goes through once a step or a block, has left its level-2 cache by
 * the time it comes to its beginning again. */
INLINE int far_away(const pyrnn_job *job, ptrdiff_t reals)
{
    return (size_t)reals * sizeof(real) > job->l2 / 2;
}

INLINE void wait_for_all(const pyrnn_job *job)
{
    if (job->by_units)
        barrier_wait(job->barrier, job->threads);
}

/* Few rows a thread: a tile of them does little with each weight that it loads, and sharing units means that every
 * thread loads its own weights alone, into its own cache. That pays where a step is long enough for its barrier,
 * about 0.2 us on two cores: from 60,000 operations a thread on, 0.5 us. Otherwise there are no more threads than
 * rows. */
static void choose_split(pyrnn_job *job, const cell *c, int grain)
{
    const double flops_each = 6e4;
    ptrdiff_t groups = (panels_of(job->H) + grain - 1) / grain;
    double step = 2. * c->gates * (double)job->H * (double)job->H * (double)job->B;
    ptrdiff_t most = min_of((ptrdiff_t)min_of((ptrdiff_t)(step / flops_each), 1 << 20), groups);
    int threads = (int)min_of(job->threads, most);
    job->by_units = threads > 1 && job->B < (ptrdiff_t)job->threads * tile_rows(4);
    job->threads = job->by_units ? threads : (int)max_of(min_of(job->threads, job->B), 1);
}
