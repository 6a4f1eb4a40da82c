/* What a cell tells the driver about itself; its formulas are two functions beside it (cells/).
 *
 *     point(phase, ax, ah, s, saved, at)
 *         ax     in       input part of the G gates, in slot order
 *         ah     in       recurrent part of the phase's gates
 *         s      in, out  states
 *         saved  in, out  K values; those of earlier phases are there
 *     back(phase, acc, saved, s0, s1, ds, da, at)
 *         acc    in       in all phases but the last, the gradient of what the next phase's product read
 *         saved  in       K values
 *         s0 s1  in       states before and after the step
 *         ds     in, out  gradient of the states after; then the part of it that reaches the states before
 *                         past the products
 *         da     out      gradients of the pre-activations, one a slot, then those of the weights that each unit has
 *                         for itself
 *         at     in       the options and those weights; NULL for the plain cell
 *
 * A step has one phase, or more where something must wait for a whole row: a second product, or the statistics of a
 * normalization. Phases run 0, 1, ... forward and in the opposite order back. What a phase has saved, and the slots that it
 * has filled, later ones read and nobody writes again.
 *
 * Slots number the gradients of pre-activations: the input's products read the slots 0..G-1, phase p's
 * recurrent product reads first..first+count-1, so a gradient that both share is stored once.
 *
 * A projection is a phase of the driver's own, the last one: what the cell calls h is saved, and its product with the
 * projection's matrix becomes state 0, of another width. So it suits the cells that do nothing with h beside their
 * products: those with a second state. */
#define NOINLINE __attribute__((noinline)) /* code that all cells share, outside the inner loops */
#define ONCE __attribute__((noinline, cold)) /* what a call or a block does once: made small */

enum {
    MAX_GATES = 4,
    MAX_SLOTS = 27,
    MAX_STATES = PYRNN_MAX_STATES,
    MAX_SAVES = 14,
    MAX_PHASES = 4,
    MAX_NORMS = 4,
    MAX_UNITS = 13
};

typedef signed char tiny; /* a cell is copied in every call */

typedef struct {
    const char *name;
    tiny gates, slots, states, saves, phases;
    struct {
        tiny first, count; /* slots of its product; count 0: it has none */
        tiny source; /* phases > 0: the saved value that the product reads; phase 0 reads the state h */
        /* Of several phases: bits of the saved values that it reads, writes, and reads on the way back; of the slots that
         * it reads and writes there. */
        unsigned reads, saves, looks_back, needs, fills;
    } phase[MAX_PHASES];
    tiny norms;
    struct {
        tiny phase; /* that reads its statistics: one without a product */
        tiny first, count; /* saved values of earlier phases: it runs over all of them in a row */
        tiny gain,
            slot; /* of the first one: its gain among own weights, and the gradient of what comes out */
    } norm[MAX_NORMS];
    /* slot -> block of H rows in w_ih and in w_hh (PyTorch's order) */
    tiny block_x[MAX_GATES], block_h[2 * MAX_GATES];
    tiny activation, recurrent_activation; /* by default */
    tiny units; /* weights that each unit has for itself; their gradients are slots behind the others */
    tiny peepholes; /* how many more, if the layer has them */
    tiny peeps; /* whether it has */
    /* Biases that `point` adds, and not the products: they come before those weights, input's and then recurrent ones. Their
     * gradients are slots, the input's in the order of slots 0..G-1, the others in that of phase 0. */
    tiny shifts, slot_x, slot_h;
    tiny general; /* the driver looks at options */
    tiny first_own; /* of a general cell: the slot of the first of those gradients */
    tiny projected; /* of a general cell: whether the last phase projects state 0 */
} cell;

/* Whether the compiler knows the cell: the formulas of one that it knows are part of the driver, those of all others are called.
 * A cell that is known with options is declared as cell_of() would make it. */
INLINE int known(const cell *c) { return __builtin_constant_p(c->gates); }

/* The phase that the cell's formula ends with. */
INLINE int last_of_formula(const cell *c) { return c->phases - 1 - c->projected; }

/* Whether a phase is the projection. */
INLINE int projects(const cell *c, int phase) { return c->projected && phase > last_of_formula(c); }

/* How wide, in this layer: state q; the states before it, side by side; what a phase's product reads and what comes out of
 * it. */
INLINE ptrdiff_t state_width(const cell *c, const pyrnn_layer *layer, int q)
{
    return q == 0 && c->projected ? layer->projection : layer->units;
}
INLINE ptrdiff_t states_width(const cell *c, const pyrnn_layer *layer, int q)
{
    return q > 0 ? state_width(c, layer, 0) + (q - 1) * layer->units : 0;
}
INLINE ptrdiff_t phase_reads(const cell *c, const pyrnn_layer *layer, int phase)
{
    return phase > 0 ? layer->units : state_width(c, layer, 0);
}
INLINE ptrdiff_t phase_units(const cell *c, const pyrnn_layer *layer, int phase)
{
    return projects(c, phase) ? layer->projection : layer->units;
}

/* The blocks of the matrix that a phase's slots are products with. */
INLINE const tiny *phase_blocks(const cell *c, int phase)
{
    static const tiny only[] = {0};
    return projects(c, phase) ? only : c->block_h + c->phase[phase].first;
}

/* Where a general cell computes. */
typedef struct {
    const pyrnn_layer *options; /* no activation left at PYRNN_DEFAULT */
    int peepholes; /* among units */
    const real *units; /* [shifts + units][L] of the panel */
    const real *stats, *sums; /* [norms][2] of the row: mean and scale; on the way back means of gradients */
} place;

/* The first bit from k on. Where the compiler knows the cell, k: it unrolls what counts. */
INLINE int bit_from(const cell *c, unsigned mask, int k)
{
    return !c->general ? k : mask >> k ? k + __builtin_ctz(mask >> k) : MAX_SLOTS;
}

/* for (each k >= from and < n whose bit is in the mask; every such k if the formula has one phase) ... */
#define EACH_BIT(k, from, n, c, mask)                                                                        \
    for (int k = last_of_formula(c) ? bit_from(c, mask, from) : (from); k < (n);                             \
         k = last_of_formula(c) ? bit_from(c, mask, k + 1) : k + 1)                                          \
        if (!last_of_formula(c) || (c)->general || (mask) >> k & 1)

/* Whether a phase has no product, as far as the compiler can tell of any: a driver whose cell has none does without them. */
INLINE int without_product(const cell *c, int phase)
{
    int some = !known(c);
    for (int i = 0; i < MAX_PHASES; i++)
        some |= i < c->phases && c->phase[i].count == 0;
    return c->general && some && c->phase[phase].count == 0;
}

INLINE int own_weights(const cell *c) { return c->shifts + c->units; }

typedef void point_function(int phase, const V *ax, const V *ah, V *s, V *saved, const place *at);
typedef void back_function(int phase, V acc, const V *saved, const V *s0, const V *s1, V *ds, V *da,
                           const place *at);
