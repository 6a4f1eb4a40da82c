/* The memory of a way back, which its threads share: sums over the whole call, and what a block's time loop leaves to the block's
 * products. */

typedef struct {
    real *dw, *dr[MAX_PHASES]; /* [panel][k][gate][L]: sums so far */
    real *db; /* [panel][slot][L] */
    real *ds; /* [row of strip][S][Hp] */
    /* Of a block: */
    real *da; /* [panel][pair][slot][L] */
    const real **x, **h[MAX_PHASES]; /* [pair] what the products of dW and dR read */
    real *x_tiles, *h_tiles[MAX_PHASES]; /* the same, gathered for them: [tile][pair][pair_width] */
    /* da of a narrow last panel as dW and dR read it, where gates share its vectors: [pair][vector][L]; the
     * same where the slots are */
    real *narrow_x, *narrow_h;
    real **dx; /* [pair] */
} backward_space;

#define PART(bytes)                                                                                          \
    (at ? at + used : NULL);                                                                                 \
    used += ((bytes) + 63) / 64 * 64

static size_t backward_sums_of(const cell *c, const pyrnn_job *job, char *at, backward_space *space)
{
    size_t used = 0, size = sizeof(real), strip = (size_t)job->strip;
    size_t Hp = (size_t)(panels_of(job->H) * L);
    space->dw = (real *)PART((size_t)job->I * Hp * c->gates * size);
    for (int i = 0; i < c->phases; i++) {
        space->dr[i] = (real *)PART((size_t)product_size(c, &job->layer, i) * size);
    }
    space->db = (real *)PART(Hp * c->slots * size);
    space->ds = (real *)PART(strip * c->states * Hp * size);
    return used;
}

/* Tiles of K rows of dW or dR. */
INLINE row_split gradient_tiles(int gates, ptrdiff_t K)
{
    return split_rows(gates ? K : 0, tile_rows(panels_at_once(gates) * gates));
}

/* Reals of a pair in the tiles before this one, as they are gathered. */
INLINE ptrdiff_t tile_offset(const row_split *split, ptrdiff_t tile)
{
    const int width = pair_width((int)split->rows), wider = pair_width((int)split->rows + 1);
    return tile * width + min_of(tile, split->more) * (wider - width);
}

/* The same in all of them. */
INLINE size_t gathered(int gates, ptrdiff_t K)
{
    const row_split split = gradient_tiles(gates, K);
    return (size_t)tile_offset(&split, split.tiles);
}

static size_t backward_block_of(const cell *c, const pyrnn_job *job, char *at, backward_space *space)
{
    size_t used = 0, size = sizeof(real), block = (size_t)job->block;
    size_t Hp = (size_t)(panels_of(job->H) * L);
    const int lanes = last_lanes(c, job->H);
    const size_t narrow = lanes < L ? (size_t)vectors_of(c->gates, lanes) * L : 0;
    space->da = (real *)PART(block * Hp * c->slots * size);
    space->narrow_x = space->narrow_h = (real *)PART(block * narrow * size);
    if (c->phase[0].first > 0) {
        space->narrow_h = (real *)PART(block * narrow * size);
    }
    for (int i = 0; i < c->phases; i++) {
        space->h[i] = (const real **)PART(block * sizeof(real *));
        space->h_tiles[i] =
            (real *)PART(block * gathered(c->phase[i].count, phase_reads(c, &job->layer, i)) * size);
    }
    space->x = (const real **)PART(block * sizeof(real *));
    space->x_tiles = (real *)PART(block * gathered(c->gates, job->I) * size);
    space->dx = (real **)PART(block * sizeof(real *));
    return used;
}
#undef PART

/* With the space of the block whose turn it is: where the time loop runs ahead, the one before is in use too. */
static size_t backward_space_of(const cell *c, const pyrnn_job *job, char *at, int turn,
                                backward_space *space)
{
    const size_t sums = backward_sums_of(c, job, at, space), each = backward_block_of(c, job, NULL, space);
    if (at)
        backward_block_of(c, job, at + sums + (size_t)turn * each, space);
    return sums + (1 + (size_t)job->ahead) * each;
}
