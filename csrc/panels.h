/* How work is cut: units into panels of L, panels into groups that one tile of a product spans, rows into tiles. */

INLINE ptrdiff_t panels_of(ptrdiff_t n) { return (n + L - 1) / L; }

INLINE ptrdiff_t min_of(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
INLINE ptrdiff_t max_of(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }

/* Rows of a tile of `vecs` vectors: as many accumulators as registers allow beside the vectors of w and one
 * broadcast element. Measured with gcc 12: one row more spills, and a spilled accumulator halves the speed.
 */
#if PYRNN_BYTES == 64 || defined __aarch64__ /* 32 registers */
INLINE int tile_rows(int vecs) { return vecs == 4 ? 6 : 8; }
#else /* 16 */
INLINE int tile_rows(int vecs) { return vecs == 4 ? 2 : vecs == 3 ? 3 : 4; }
#endif
enum { MAX_ROWS = 8, MAX_VECS = 4, MAX_SUMS = 12 /* of a single row, in vectors */ };

/* So many inputs, at most, do without tiles: what begins and ends a tile would cost more than its sums, and their
 * gradients would fill a lane or two of a vector. */
enum { FEW = 4 };

/* Panels of L units that a product over `gates` gates takes at once, so that a tile is about four vectors
 * wide. */
INLINE int panels_at_once(int gates) { return gates == 1 ? 4 : gates == 2 ? 2 : 1; }

/* Where few units are left for the last panel of a cell of one product a step, its gates share vectors on the way forward: each
 * takes so many lanes of them, and has a vector of its own again (spread) when the sums are there. */
INLINE int last_lanes(const cell *c, ptrdiff_t units)
{
    const ptrdiff_t rest = units % L;
    if (!CAN_SPREAD || c->phases > 1 || c->gates < 3 || c->phase[0].count != c->gates || rest == 0 ||
        rest > L / 2)
        return L;
    return rest > L / 4 ? L / 2 : L / 4;
}

/* The vectors of so many gates. */
INLINE int vectors_of(int gates, int lanes) { return (gates * lanes + L - 1) / L; }

/* A row of such gates, in place: each gate becomes a vector. */
INLINE void spread_row(int gates, int lanes, real *at)
{
#pragma GCC unroll 4
    for (int g = gates - 1; g >= 0; g--)
        vstorea(at + g * L, vload_low(at + g * lanes, lanes));
}

/* Rows of them, `step` apart. */
NOINLINE static void spread(int gates, int lanes, ptrdiff_t rows, real *at, ptrdiff_t step)
{
    for (ptrdiff_t r = 0; r < rows; r++, at += step)
        spread_row(gates, lanes, at);
}

/* The panels of so many units that a part takes: they are shared out in groups of `grain`, which no product may cut. */
INLINE share panels_of_part(ptrdiff_t units, int grain, int parts, int part)
{
    ptrdiff_t panels = panels_of(units);
    if (parts == 1)
        return (share){0, panels};
    share groups = share_of((panels + grain - 1) / grain, part, parts);
    return (share){min_of(groups.from * grain, panels), min_of(groups.to * grain, panels)}; /* maybe none */
}

/* Rows are split into tiles that differ by at most one row: {6, 2} would run its second tile at a third of
 * the speed. */
typedef struct {
    ptrdiff_t tiles, rows, more;
} row_split;

INLINE row_split split_rows(ptrdiff_t n, int max)
{
    ptrdiff_t tiles = (n + max - 1) / max;
    return (row_split){tiles, tiles ? n / tiles : 0, tiles ? n % tiles : 0};
}

INLINE int split_size(const row_split *split, ptrdiff_t tile)
{
    return (int)(split->rows + (tile < split->more));
}

/* The first row of a tile. */
INLINE ptrdiff_t split_start(const row_split *split, ptrdiff_t tile)
{
    return tile * split->rows + min_of(tile, split->more);
}

/* A pass over panels: bites of one group each or, for a single row, of several groups, MAX_SUMS vectors in all. Passes
 * go to and fro, so that each begins with what the one before left in the cache. */
typedef struct {
    share panels;
    int gates, at_once, rest; /* panels of a full group, and those of a last bite that is none */
    int narrow; /* vectors of a narrow last panel, 0 if there is none */
    int joined; /* whether it follows the groups of the only bite */
    row_split full; /* full groups in bites */
    ptrdiff_t bites;
    int back;
} pass;

typedef struct {
    ptrdiff_t panel;
    int groups, panels; /* panels in each group */
    int vecs; /* of each group */
    int more; /* of the narrow panel that follows them */
    int all; /* panels */
    int spread; /* where the vectors of a narrow panel begin, -1 if it has none */
} bite;

/* Groups of a single row's bite, whose product has so many k; `near`: reals that the level-1 cache holds. If it holds a good
 * part of them all, but not all, a bite is no larger than what it keeps from the end of one pass to the next's beginning. */
INLINE int groups_at_once(int sums, ptrdiff_t groups, ptrdiff_t k, ptrdiff_t near)
{
    const ptrdiff_t each = sums * L * k, all = groups * each, kept = near * 9 / 10;
    const int most = MAX_SUMS / sums;
    return all > near && all <= 8 * near ? (int)max_of(min_of(most, kept / each), 1) : most;
}

/* `gates`: of a product, 0 if there is none but panels. `lanes`: of a gate in the last panel of so many units, see last_lanes.
 * `join`: whether that may follow the groups before. */
NOINLINE static pass pass_of(share panels, int gates, int lanes, ptrdiff_t units, ptrdiff_t rows, ptrdiff_t k,
                             ptrdiff_t near, int join)
{
    enum { JOINED = MAX_SUMS - 2 }; /* a narrow panel has two vectors at most */
    const int at_once = panels_at_once(gates);
    const int narrow = lanes < L && panels.from < panels.to && panels.to == panels_of(units);
    const int rest = narrow ? 1 : (int)((panels.to - panels.from) % at_once);
    const ptrdiff_t groups = (panels.to - panels.from - rest) / at_once;
    row_split full =
        split_rows(groups, rows == 1 && gates > 0 ? groups_at_once(at_once * gates, groups, k, near) : 1);
    const int joined = narrow && join && rows == 1 && full.tiles == 1 && groups * at_once * gates <= JOINED;
    return (pass){.panels = panels,
                  .gates = gates,
                  .at_once = at_once,
                  .rest = rest,
                  .narrow = narrow ? vectors_of(gates, lanes) : 0,
                  .joined = joined,
                  .full = full,
                  .bites = full.tiles + (rest > 0 && !joined)};
}

INLINE bite pass_bite(const pass *p, ptrdiff_t i)
{
    i = p->back ? p->bites - 1 - i : i;
    if (i == p->full.tiles)
        return (bite){.panel = p->panels.to - p->rest,
                      .groups = 1,
                      .panels = p->rest,
                      .vecs = p->narrow ? p->narrow : p->rest * p->gates,
                      .all = p->rest,
                      .spread = p->narrow ? 0 : -1};
    const ptrdiff_t group = split_start(&p->full, i);
    const int groups = split_size(&p->full, i), vecs = p->at_once * p->gates;
    return (bite){.panel = p->panels.from + group * p->at_once,
                  .groups = groups,
                  .panels = p->at_once,
                  .vecs = vecs,
                  .more = p->joined ? p->narrow : 0,
                  .all = groups * p->at_once + p->joined,
                  .spread = p->joined ? groups * vecs : -1};
}
