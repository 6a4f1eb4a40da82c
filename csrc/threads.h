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

/* How a product with a matrix is walked through: found out anew where its rows or panels change, not in each step. */
enum { PLANNED = 24 };
typedef struct {
    ptrdiff_t rows; /* -1: nothing is known yet */
    int part;
    pass walk;
    row_split split;
    int far;
    bite bites[PLANNED]; /* of a single row, as they come when the walk does not go back */
    row_cut cut; /* of a single row and the first part, behind its own units */
} product_plan;

INLINE int is_planned(const product_plan *plan, ptrdiff_t rows, int part)
{
    return plan->rows == rows && plan->part == part;
}

/* For some rows of a part: panels of so many gates, the last of so many units with so many lanes a gate; K terms a sum. `join`: see
 * pass_of. */
NOINLINE static void plan_product(product_plan *plan, const pyrnn_job *job, ptrdiff_t rows, int part,
                                  share panels, int gates, int lanes, ptrdiff_t units, ptrdiff_t K, int join)
{
    plan->rows = rows, plan->part = part;
    plan->walk = pass_of(panels, gates, lanes, units, rows, K, near_reals(job), join);
    plan->split = split_rows(rows, tile_rows(plan->walk.at_once * gates));
    plan->far = far_away(job, (panels.to - panels.from) * K * gates * L);
    for (ptrdiff_t i = 0; i < min_of(plan->walk.bites, PLANNED) && rows == 1; i++)
        plan->bites[i] = pass_bite(&plan->walk, i);
}

/* The i-th bite of a single row; `spare` is where one goes that had no room. */
INLINE const bite *plan_bite(const product_plan *plan, ptrdiff_t i, bite *spare)
{
    const ptrdiff_t place = plan->walk.back ? plan->walk.bites - 1 - i : i;
    if (place < PLANNED)
        return plan->bites + place;
    *spare = pass_bite(&plan->walk, i);
    return spare;
}

/* Weights that a step's products read. */
static double step_weights(const pyrnn_job *job, const cell *c)
{
    double weights = 0;
    for (int i = 0; i < c->phases; i++)
        weights += (double)c->phase[i].count * (double)phase_reads(c, &job->layer, i) *
                   (double)phase_units(c, &job->layer, i);
    return weights;
}

/* How many threads may share the units of a step: it must be long enough for the end of its rounds (machine.c). */
ONCE static ptrdiff_t sharers_of_units(const pyrnn_job *job, const cell *c, int grain)
{
    const ptrdiff_t groups = (panels_of(job->H) + grain - 1) / grain;
    const double step = 2 * step_weights(job, c) * (double)job->B;
    return min_of((ptrdiff_t)min_of((ptrdiff_t)(step / job->round_flops), 1 << 20), groups);
}

/* Few rows a thread: a tile of them does little with each weight that it loads, and sharing units means that every
 * thread loads its own weights alone, into its own cache. Otherwise there are no more threads than rows. */
static void choose_split(pyrnn_job *job, const cell *c, int grain)
{
    int threads = (int)min_of(job->threads, sharers_of_units(job, c, grain));
    /* A tile of four rows is nearly as fast as a full one, unless the weights come from far for each thread anew. */
    const int enough = far_away(job, (ptrdiff_t)step_weights(job, c)) ? tile_rows(4) : 4;
    job->by_units = threads > 1 && job->B < (ptrdiff_t)job->threads * enough;
    job->threads = job->by_units ? threads : (int)max_of(min_of(job->threads, job->B), 1);
}

/* Rows of a part: every step-th from the first on. */
typedef struct {
    ptrdiff_t first, end, step;
} row_share;

/* The rows from p0 to p1 that a part walks through. Rows of one length lie side by side, and what is theirs does too; those of a
 * ragged batch, sorted, are dealt out in turn: each part gets long and short sequences alike, still sorted. */
NOINLINE static row_share rows_of_part(const pyrnn_job *job, ptrdiff_t p0, ptrdiff_t p1, int part)
{
    if (job->by_units)
        return (row_share){p0, p1, 1};
    if (job->order)
        return (row_share){p0 + part, p1, job->threads};
    const share mine = share_of(p1 - p0, part, job->threads);
    return (row_share){p0 + mine.from, p0 + mine.to, 1};
}
