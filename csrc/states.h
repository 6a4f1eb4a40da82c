/* Where a job's steps and states lie, for forward and backward. */

/* The time index of step s, and whether an episode begins between it and the step before it. */
INLINE ptrdiff_t time_of(const pyrnn_job *job, ptrdiff_t length, ptrdiff_t s)
{
    return job->reverse ? length - 1 - s : s;
}

/* How far an array's next step lies behind this one. */
INLINE ptrdiff_t step_of(const pyrnn_job *job, ptrdiff_t step) { return job->reverse ? -step : step; }

INLINE int cut_before(const pyrnn_job *job, ptrdiff_t row, ptrdiff_t length, ptrdiff_t s)
{
    if (!job->reset || (job->reverse && s == 0))
        return 0;
    ptrdiff_t t = job->reverse ? length - s : s; /* the later of the two steps in time */
    return job->reset[t * job->reset_step + row * job->reset_row] != 0;
}

/* What training keeps: each state of all pairs, then their saved values. */
INLINE real *kept_state(const cell *c, const pyrnn_job *job, int q, ptrdiff_t pair)
{
    return (real *)job->saved + states_width(c, &job->layer, q) * job->pairs +
           pair * state_width(c, &job->layer, q);
}

INLINE real *kept_saves(const cell *c, const pyrnn_job *job, ptrdiff_t pair)
{
    return (real *)job->saved + states_width(c, &job->layer, c->states) * job->pairs +
           pair * c->saves * job->H;
}

/* And the masked h: of the rows before their first step, then of every pair. */
INLINE real *masked_states(const cell *c, const pyrnn_job *job) { return kept_saves(c, job, job->pairs); }

/* State q of a row before its first step. */
INLINE const real *initial_state(const cell *c, const pyrnn_job *job, const real *zero, int q, ptrdiff_t row)
{
    return job->state0[q] ? (const real *)job->state0[q] + row * state_width(c, &job->layer, q) : zero;
}

/* Rows of the block's strip that have a step s. */
INLINE ptrdiff_t block_active(const pyrnn_job *job, const pyrnn_block *b, ptrdiff_t s)
{
    return max_of(min_of(job_active(job, s), b->p1) - b->p0, 0);
}

static ptrdiff_t block_pairs(const pyrnn_job *job, const pyrnn_block *b)
{
    ptrdiff_t pairs = 0;
    for (ptrdiff_t s = b->s0; s < b->s1; s++)
        pairs += block_active(job, b, s);
    return pairs;
}
