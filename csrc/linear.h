/* An affine map of rows and its gradients.
 *
 *     forward    y = x W' + b
 *     backward   dx = dy W    dW = dy' x    db = sum dy
 *
 * First what products read is packed, by all threads; then tiles of the results are shared out. A number is the sum of its
 * products in one order, whatever the rows beside it and whoever computes it. */

/* Columns that one tile spans. */
INLINE ptrdiff_t group_columns(void) { return panels_at_once(1) * L; }

INLINE ptrdiff_t groups_of(ptrdiff_t columns) { return (columns + group_columns() - 1) / group_columns(); }

/* Group g of a packed matrix of so many columns; its width. */
INLINE ptrdiff_t group_width(ptrdiff_t columns, ptrdiff_t g)
{
    return min_of(group_columns(), columns - g * group_columns());
}

/* out = init + a w for `rows` rows and a group of columns, whose first bias is *init. */
HOT void map_rows(ptrdiff_t rows, matrix a, ptrdiff_t K, const real *w, const V *init, ptrdiff_t columns,
                  matrix out)
{
    const int vecs = (int)panels_of(columns);
    const row_split tiles = split_rows(rows, tile_rows(vecs));
    const span k = span_of(K);
    for (ptrdiff_t tile = 0, r = 0; tile < tiles.tiles; r += split_size(&tiles, tile++)) {
        const real *row[MAX_ROWS];
        V sums[MAX_ROWS * MAX_VECS];
        const grid to = {(real *)sums, vecs * L, {0, L, 2 * L, 3 * L}};
        const int n = split_size(&tiles, tile);
        for (int i = 0; i < n; i++)
            row[i] = a.at + (r + i) * a.step;
        product(n, vecs, &to, init, row, &k, w, NULL);
        for (int i = 0; i < n; i++)
            for (int v = 0; v < vecs; v++)
                put(out.at + (r + i) * out.step + v * L, sums[i * vecs + v], columns - v * L);
    }
}

/* out = bias + a w, `part` of it: blocks of rows, and for each of them the groups of columns. The k of a packed group are
 * `packed_k`, of which K count. */
DRIVER void map_part(const pyrnn_linear_job *job, matrix a, ptrdiff_t K, const real *w, ptrdiff_t packed_k,
                     const real *bias, ptrdiff_t columns, matrix out, int part)
{
    const ptrdiff_t groups = groups_of(columns), rows = job->call->rows;
    const ptrdiff_t blocks = (rows + LINEAR_ROWS - 1) / LINEAR_ROWS;
    const share tasks = share_of(blocks * groups, part, job->threads);
    for (ptrdiff_t task = tasks.from; task < tasks.to; task++) {
        const ptrdiff_t r = task / groups * LINEAR_ROWS, g = task % groups, c = g * group_columns();
        const ptrdiff_t width = group_width(columns, g);
        V init[MAX_VECS] = {0};
        for (ptrdiff_t v = 0; bias && v < panels_of(width); v++)
            init[v] = get(bias + c + v * L, width - v * L);
        map_rows(min_of(LINEAR_ROWS, rows - r), from_row(a, r), K, w + c * packed_k, init, width,
                 (matrix){out.at + r * out.step + c, out.step});
    }
}

static void linear_forward(const void *context, int phase, int part)
{
    const pyrnn_linear_job *job = context;
    const pyrnn_linear *c = job->call;
    const ptrdiff_t I = c->inputs, O = c->outputs;
    const share groups = share_of(groups_of(O), part, job->threads);
    real *packed = (real *)job->packed;
    for (ptrdiff_t g = groups.from; g < groups.to && phase == 0 && !c->packed; g++) {
        ptrdiff_t o = g * group_columns();
        pack_turned((matrix){(real *)c->w + o * I, I}, group_width(O, g), I, packed + o * I);
    }
    if (phase == 1)
        map_part(job, (matrix){(real *)c->x, c->x_row}, I, packed, I, c->b, O, (matrix){job->y, job->y_row},
                 part);
}

/* dW and db of the outputs [o, o + n): rows of dy are turned block by block. `own` is [n][LINEAR_ROWS], then [n][I rounded
 * up]. */
DRIVER void weight_block(const pyrnn_linear_job *job, const packed_matrix *x, ptrdiff_t o, ptrdiff_t n,
                         real *own)
{
    const pyrnn_linear *c = job->call;
    const matrix dy = {(real *)job->dy + o, job->dy_row}, turned = {own, LINEAR_ROWS},
                 sums = {own + n * LINEAR_ROWS, x->panels * L};
    V bias[LINEAR_BLOCK / L] = {0};
    memset(sums.at, 0, sizeof(real) * (size_t)(n * sums.step));
    for (ptrdiff_t r = 0; r < c->rows; r += LINEAR_ROWS) {
        const ptrdiff_t m = min_of(LINEAR_ROWS, c->rows - r);
        for (ptrdiff_t v = 0; v < panels_of(n) && job->db; v++) {
            V sum = vset(0);
            for (ptrdiff_t i = 0; i < m; i++)
                sum = sum + get(dy.at + (r + i) * dy.step + v * L, n - v * L);
            bias[v] = bias[v] + sum;
        }
        if (!job->dw)
            continue;
        transpose(m, n, dy.at + r * dy.step, dy.step, turned.at, turned.step);
        multiply(n, turned, x, r, m, 0, x->panels, sums, 1);
    }
    for (ptrdiff_t i = 0; i < n && job->dw; i++)
        put_row((real *)job->dw + (o + i) * c->inputs, sums.at + i * sums.step, c->inputs, 1);
    for (ptrdiff_t v = 0; v < panels_of(n) && job->db; v++)
        put((real *)job->db + o + v * L, bias[v], n - v * L);
}

static void linear_backward(const void *context, int phase, int part)
{
    const pyrnn_linear_job *job = context;
    const pyrnn_linear *c = job->call;
    const ptrdiff_t I = c->inputs, O = c->outputs, rows = panels_of(c->rows) * L, outputs = panels_of(O) * L;
    const share groups = share_of(groups_of(I), part, job->threads);
    real *w = (real *)job->work, *x = (real *)(job->work + job->work_w);
    for (ptrdiff_t g = groups.from; g < groups.to && phase == 0; g++) {
        const ptrdiff_t i = g * group_columns(), width = group_width(I, g);
        if (job->dx)
            pack_upright((matrix){(real *)c->w + i, I}, O, width, w + i * outputs);
        if (job->dw)
            pack_upright((matrix){(real *)c->x + i, c->x_row}, c->rows, width, x + i * rows);
    }
    if (phase == 0)
        return;
    if (job->dx)
        map_part(job, (matrix){(real *)job->dy, job->dy_row}, O, w, outputs, NULL, I,
                 (matrix){job->dx, job->dx_row}, part);
    const packed_matrix x_rows = {x, rows, panels_of(I)};
    const share panels = share_of(panels_of(O), part, job->threads);
    const ptrdiff_t to = min_of(panels.to * L, O);
    for (ptrdiff_t o = panels.from * L; o < to && (job->dw || job->db); o += LINEAR_BLOCK)
        weight_block(job, &x_rows, o, min_of(LINEAR_BLOCK, to - o),
                     (real *)(job->work + job->work_shared + (size_t)part * job->work_thread));
}
