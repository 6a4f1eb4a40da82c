/* The layouts that the kernels read, written from PyTorch's (G*H, K) matrices. A panel is L units; units
 * beyond H are zeros, so that tails cost the products nothing. Offsets count reals from behind the header.
 *
 *     forward:  zero [Hp]                              the state of a row that has none
 *               bias_x [panel][G][L]
 *               bias_h [panel][count][L]                                           one for each phase
 *               units [panel][shifts + units][L]        weights that each unit has for itself, of general cells
 *               W [group][k < I][panel of group][G][L]
 *               R [group][k < H][panel of group][count][L]                         one for each phase
 *     backward: zero [Hp]
 *               units, as forward
 *               R' [group of H][panel][count][unit of panel][lane of group]        one for each phase
 *               W' [group of I][panel][G][unit of panel][lane of group]
 *               or, of FEW inputs, W [k < I][panel][G][L]
 *
 * A group is what one tile spans: panels_at_once(gates) panels; the last one of a matrix may be narrower. Forward, gates of the last
 * panel may share vectors (last_lanes): they lie at the beginning of its room, the rest of which is zeros. */

typedef struct {
    ptrdiff_t zero, bias_x, bias_h[MAX_PHASES], units, w, r[MAX_PHASES]; /* where each part begins */
    ptrdiff_t size; /* reals in all */
} packed_layout;

/* Reals of a phase's matrix, forward, and of its gradient. */
INLINE ptrdiff_t product_size(const cell *c, const pyrnn_layer *layer, int phase)
{
    return phase_reads(c, layer, phase) * panels_of(phase_units(c, layer, phase)) * L * c->phase[phase].count;
}

static packed_layout layout_of(const cell *c, int use, const pyrnn_layer *layer)
{
    const ptrdiff_t I = layer->inputs;
    ptrdiff_t Hp = panels_of(layer->units) * L, at = Hp;
    packed_layout lay = {.zero = 0};
    if (use == PYRNN_FORWARD) {
        lay.bias_x = at, at += Hp * c->gates;
        for (int i = 0; i < c->phases; i++)
            lay.bias_h[i] = at, at += panels_of(phase_units(c, layer, i)) * L * c->phase[i].count;
        lay.units = at, at += c->general ? Hp * own_weights(c) : 0;
        lay.w = at, at += I * Hp * c->gates;
        for (int i = 0; i < c->phases; i++)
            lay.r[i] = at, at += product_size(c, layer, i);
    } else {
        lay.units = at, at += c->general ? Hp * own_weights(c) : 0;
        for (int i = 0; i < c->phases; i++)
            lay.r[i] = at,
            at += panels_of(phase_reads(c, layer, i)) * L * phase_units(c, layer, i) * c->phase[i].count;
        lay.w = at, at += (I <= FEW ? I * Hp : panels_of(I) * L * layer->units) * c->gates;
    }
    lay.size = at;
    return lay;
}

/* Vectors over units: out[panel][slot][lane] = bias[block[slot]*H + unit], panels `step` vectors apart, and so many lanes for a
 * slot of the last one. */
ONCE static void pack_bias(int gates, const tiny *block, ptrdiff_t H, const real *bias, real *out, int step,
                           int lanes)
{
    for (ptrdiff_t j0 = 0; j0 < H; j0 += L, out += step * L) {
        const ptrdiff_t n = min_of(L, H - j0), width = j0 + L < H ? L : lanes;
        for (int i = 0; i < gates * L; i++)
            out[i] = 0;
        for (int g = 0; g < gates && bias; g++)
            for (ptrdiff_t l = 0; l < n; l++)
                out[g * width + l] = bias[block[g] * H + j0 + l];
    }
}

static const tiny in_order[MAX_UNITS] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

/* The weights that each unit has for itself. */
static void pack_own(const cell *c, ptrdiff_t H, const real *b_ih, const real *b_hh, const real *units,
                     real *out)
{
    const int all = own_weights(c);
    if (c->shifts) {
        pack_bias(c->gates, c->block_x, H, b_ih, out, all, L);
        pack_bias(c->phase[0].count, c->block_h + c->phase[0].first, H, b_hh, out + c->gates * L, all, L);
    }
    pack_bias(c->units, in_order, H, units, out + c->shifts * L, all, L);
}

/* to[c*to_step + r] = from[r*from_step + c] for r < rows, c < columns, in squares of L where they are whole. */
NOINLINE static void transpose(ptrdiff_t rows, ptrdiff_t columns, const real *from, ptrdiff_t from_step,
                               real *to, ptrdiff_t to_step)
{
    for (ptrdiff_t r0 = 0; r0 < rows; r0 += L)
        for (ptrdiff_t c0 = 0; c0 < columns; c0 += L) {
            const real *source = from + r0 * from_step + c0;
            real *target = to + c0 * to_step + r0;
            if (rows - r0 >= L && columns - c0 >= L) {
                V square[L];
                for (int i = 0; i < L; i++)
                    square[i] = vload(source + i * from_step);
                vtranspose(square);
                for (int i = 0; i < L; i++)
                    vstore(target + i * to_step, square[i]);
            } else
                for (ptrdiff_t r = 0; r < min_of(L, rows - r0); r++)
                    for (ptrdiff_t c = 0; c < min_of(L, columns - c0); c++)
                        target[c * to_step + r] = source[r * from_step + c];
        }
}

/* Matrices for `product` over inputs: out[group][k][panel][gate][lane] = w[block[gate]*H + unit][k], with so many lanes in the
 * last panel, which then is a group. Rows of w are w_step apart. */
static void pack_columns(int gates, const tiny *block, ptrdiff_t K, ptrdiff_t H, const real *w,
                         ptrdiff_t w_step, real *out, int lanes, int part, int parts)
{
    const int at_once = panels_at_once(gates);
    const share mine = panels_of_part(H, at_once, parts, part);
    out += mine.from * gates * L * K;
    for (ptrdiff_t panel = mine.from; panel < mine.to; panel += at_once) {
        const ptrdiff_t m = min_of(at_once, mine.to - panel), width = (panel + m) * L < H ? L : lanes;
        const ptrdiff_t all = m * gates * width, step = (all + L - 1) / L * L;
        for (ptrdiff_t v = 0; v < m * gates; v++) {
            const ptrdiff_t j0 = (panel + v / gates) * L, n = min_of(L, H - j0);
            transpose(n, K, w + (block[v % gates] * H + j0) * w_step, w_step, out + v * width, step);
            for (ptrdiff_t k = 0; k < K; k++)
                for (ptrdiff_t l = n; l < width; l++)
                    out[k * step + v * width + l] = 0;
        }
        for (ptrdiff_t k = 0; k < K; k++)
            for (ptrdiff_t l = all; l < step; l++)
                out[k * step + l] = 0;
        memset(out + K * step, 0, sizeof(real) * (size_t)(K * (m * gates * L - step)));
        out += K * m * gates * L;
    }
}

/* Matrices for `product` over gates: out[group][panel][gate][unit][lane] = w[block[gate]*H + unit][lane], of the last panel so
 * many units, with zeros beyond H. */
static void pack_rows(int gates, const tiny *block, ptrdiff_t K, ptrdiff_t H, const real *w, ptrdiff_t w_step,
                      real *out, int last, int part, int parts)
{
    const int at_once = panels_at_once(1);
    const share mine = panels_of_part(K, at_once, parts, part);
    const ptrdiff_t units = (panels_of(H) - 1) * L + last;
    out += mine.from * L * gates * units;
    for (ptrdiff_t first = mine.from; first < mine.to; first += at_once) {
        const ptrdiff_t end = min_of(first + at_once, mine.to);
        for (ptrdiff_t j0 = 0; j0 < units; j0 += L)
            for (int g = 0; g < gates; g++)
                for (ptrdiff_t j = j0; j < min_of(j0 + L, units); j++)
                    for (ptrdiff_t k = first * L; k < end * L; k += L, out += L)
                        vstorea(out, j < H ? get(w + (block[g] * H + j) * w_step + k, K - k) : vset(0));
    }
}

/* The units of the last panel. */
INLINE int units_of_last(ptrdiff_t units) { return (int)((units - 1) % L + 1); }

/* What no part shares with others. */
static void pack_vectors(const cell *c, const pyrnn_pack_job *job, const packed_layout *lay, real *out)
{
    const pyrnn_layer *layer = job->layer;
    const real *b_ih = job->b_ih, *b_hh = job->b_hh;
    const ptrdiff_t H = layer->units;
    memset(out + lay->zero, 0, sizeof(real) * (size_t)(panels_of(H) * L));
    pack_own(c, H, b_ih, b_hh, job->units, out + lay->units);
    if (job->use != PYRNN_FORWARD)
        return;
    if (c->shifts)
        b_ih = b_hh = NULL; /* the products' are zeros */
    pack_bias(c->gates, c->block_x, H, b_ih, out + lay->bias_x, c->gates, last_lanes(c, H));
    for (int i = 0; i < c->phases; i++)
        pack_bias(c->phase[i].count, phase_blocks(c, i), phase_units(c, layer, i),
                  projects(c, i) ? NULL : b_hh, out + lay->bias_h[i], c->phase[i].count, last_lanes(c, H));
}

/* A part of the weights of a pyrnn_pack_job. */
static void pack(const void *described, int phase, int part)
{
    const pyrnn_pack_job *job = described;
    const pyrnn_layer *layer = job->layer;
    const cell its = cell_of(layer), *c = &its;
    const ptrdiff_t I = layer->inputs, H = layer->units;
    const int parts = job->parts, forward = job->use == PYRNN_FORWARD;
    const packed_layout lay = layout_of(c, job->use, layer);
    const int lanes = last_lanes(c, H);
    const real *w_ih = job->w_ih;
    real *out = job->packed;
    (void)phase;
    if (part == 0)
        pack_vectors(c, job, &lay, out);
    if (forward)
        pack_columns(c->gates, c->block_x, I, H, w_ih, I, out + lay.w, lanes, part, parts);
    else if (I > FEW)
        pack_rows(c->gates, c->block_x, I, H, w_ih, I, out + lay.w, units_of_last(H), part, parts);
    else
        for (ptrdiff_t k = 0; k < I; k++)
            pack_columns(c->gates, c->block_x, 1, H, w_ih + k, I,
                         out + lay.w + k * panels_of(H) * L * c->gates, L, part, parts);
    for (int i = 0; i < c->phases; i++) {
        const real *w = projects(c, i) ? job->w_hr : job->w_hh;
        const ptrdiff_t K = phase_reads(c, layer, i), units = phase_units(c, layer, i);
        (forward ? pack_columns : pack_rows)(c->phase[i].count, phase_blocks(c, i), K, units, w, K,
                                             out + lay.r[i], forward ? lanes : units_of_last(units), part,
                                             parts);
    }
}

ONCE static size_t packed_size(const pyrnn_layer *layer, int use)
{
    const cell c = cell_of(layer);
    return sizeof(real) * (size_t)layout_of(&c, use, layer).size;
}

/* The way back for gradients: w[block[gate]*H + unit][k] = from[panel][k][gate][lane], for some panels; with so many lanes in the
 * last one. */
static void unpack_columns(int gates, const tiny *block, ptrdiff_t K, ptrdiff_t H, int lanes,
                           const real *from, real *w, share panels)
{
    for (ptrdiff_t panel = panels.from; panel < panels.to; panel++) {
        const ptrdiff_t n = min_of(L, H - panel * L), width = n < L ? lanes : L;
        for (int g = 0; g < gates; g++)
            transpose(K, n, from + panel * K * gates * L + g * width, vectors_of(gates, (int)width) * L,
                      w + (block[g] * H + panel * L) * K, K);
    }
}
