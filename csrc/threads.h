/* How a crew shares a time loop. Rows are dealt out: a part is the whole loop for some of the rows, walked through
 * alone. Where rows are too few, all walk through the steps of every row together, and the parts of a phase are
 * units. Either way units are shared out among the parts of a round; alone that is one part with all units. */

/* Whether a matrix of so many reals, which a thread goes through once a step or a block, has left its level-2 cache by
 * the time it comes to its beginning again. */
INLINE int far_away(const pyrnn_job *job, ptrdiff_t reals)
{
    return (size_t)reals * sizeof(real) > job->l2 / 2;
}

/* Reals that a core's level-1 cache holds. */
INLINE ptrdiff_t near_reals(const pyrnn_job *job) { return (ptrdiff_t)(job->l1 / sizeof(real)); }

/* Few rows a thread: a tile of them does little with each weight that it loads, and sharing units means that every
 * thread loads its own weights alone, into its own cache. That pays where a step is long enough for the end of its rounds
 * (machine.c). Otherwise there are no more threads than rows. */
static void choose_split(pyrnn_job *job, const cell *c, int grain)
{
    ptrdiff_t groups = (panels_of(job->H) + grain - 1) / grain;
    double weights = 0;
    for (int i = 0; i < c->phases; i++)
        weights += (double)c->phase[i].count * (double)phase_reads(c, &job->layer, i) *
                   (double)phase_units(c, &job->layer, i);
    double step = 2 * weights * (double)job->B;
    ptrdiff_t most = min_of((ptrdiff_t)min_of((ptrdiff_t)(step / job->round_flops), 1 << 20), groups);
    int threads = (int)min_of(job->threads, most);
    /* A tile of four rows is nearly as fast as a full one, unless the weights come from far for each thread anew. */
    const int enough = far_away(job, (ptrdiff_t)weights) ? tile_rows(4) : 4;
    job->by_units = threads > 1 && job->B < (ptrdiff_t)job->threads * enough;
    job->threads = job->by_units ? threads : (int)max_of(min_of(job->threads, job->B), 1);
}
