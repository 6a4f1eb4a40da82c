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

/* A pass over panels: bites of one group each or, for a single row, of several groups, MAX_SUMS vectors in all. Passes
 * go to and fro, so that each begins with what the one before left in the cache. */
typedef struct {
    share panels;
    int at_once; /* panels of a full group */
    row_split full; /* full groups in bites */
    ptrdiff_t bites;
    int back;
} pass;

typedef struct {
    ptrdiff_t panel;
    int groups, panels; /* panels in each group */
} bite;

INLINE pass pass_of(share panels, int gates, ptrdiff_t rows, int back)
{
    const int at_once = panels_at_once(gates), sums = at_once * gates;
    row_split full = split_rows((panels.to - panels.from) / at_once, rows == 1 ? MAX_SUMS / sums : 1);
    int rest = (panels.to - panels.from) % at_once != 0;
    return (pass){panels, at_once, full, full.tiles + rest, back};
}

INLINE bite pass_bite(const pass *p, ptrdiff_t i)
{
    i = p->back ? p->bites - 1 - i : i;
    if (i == p->full.tiles) {
        ptrdiff_t rest = (p->panels.to - p->panels.from) % p->at_once;
        return (bite){p->panels.to - rest, 1, (int)rest};
    }
    ptrdiff_t group = i * p->full.rows + min_of(i, p->full.more);
    return (bite){p->panels.from + group * p->at_once, split_size(&p->full, i), p->at_once};
}
