/* What the next step of a time loop reads and writes of the large arrays. It has long left the caches, or was never there, and
 * lies in a few places: so the products of this step, if what they read is near, ask for it on their way. */

typedef struct {
    int left;
    struct {
        const char *at, *end;
    } part[MAX_STATES + 2];
} coming;

INLINE void coming_add(coming *all, const real *at, ptrdiff_t reals)
{
    all->part[all->left].at = (const char *)at;
    all->part[all->left++].end = (const char *)at + reals * (ptrdiff_t)sizeof(real);
}

/* Where a product of so many k asks for memory: a line for each. */
INLINE const char *coming_next(coming *all, ptrdiff_t k)
{
    while (all->left > 0 && all->part[all->left - 1].at >= all->part[all->left - 1].end)
        all->left--;
    if (all->left == 0)
        return NULL;
    const char *at = all->part[all->left - 1].at;
    all->part[all->left - 1].at += k * LINE;
    return at;
}

/* Whether a time loop of so many rows comes to memory that has left the caches. What a single row needs comes from the level-3
 * cache as soon as the CPU has guessed it. */
INLINE int comes_from_far(const cell *c, const pyrnn_job *job, ptrdiff_t rows)
{
    const ptrdiff_t kept = job->saved ? states_width(c, &job->layer, c->states) + c->saves * job->H : 0;
    return (size_t)(job->pairs * (state_width(c, &job->layer, 0) + kept)) * sizeof(real) >
           (rows > 1 ? job->l2 : job->l3) / 2;
}

/* What is saved for step s of the sorted rows from `row` on, its states those of step s_states, and a step of y or dy, whose
 * rows are `width` long and may lie apart. Nothing that stays in the cache from one pass over it to the next. What a single row
 * needs is asked for at once: its products are too short for it. */
NOINLINE static void coming_step(const cell *c, const pyrnn_job *job, ptrdiff_t s, ptrdiff_t s_states,
                                 ptrdiff_t row, ptrdiff_t rows, const real *outside, ptrdiff_t outside_step,
                                 ptrdiff_t outside_row, coming *all)
{
    const ptrdiff_t width = state_width(c, &job->layer, 0);
    all->left = 0;
    if (!comes_from_far(c, job, rows))
        return;
    if (!job->order && outside_row == width) {
        ptrdiff_t t = job->reverse ? job->T - 1 - s : s;
        coming_add(all, outside + t * outside_step + row * outside_row, rows * width);
    }
    for (int q = 0; q < c->states && s_states >= 0 && job->saved; q++)
        coming_add(all, kept_state(c, job, q, job_offset(job, s_states) + row),
                   rows * state_width(c, &job->layer, q));
    if (job->saved)
        coming_add(all, kept_saves(c, job, job_offset(job, s) + row), rows * c->saves * job->H);
    for (; rows == 1 && all->left > 0; all->left--)
        for (const char *at = all->part[all->left - 1].at; at < all->part[all->left - 1].end; at += LINE)
            __builtin_prefetch(at, 0, 2);
}

/* How many steps before: a single row's are no longer than the way from memory. */
INLINE ptrdiff_t coming_steps(ptrdiff_t rows) { return rows == 1 ? 4 : 1; }
