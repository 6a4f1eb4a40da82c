/* The entries of layer normalization: judge, share rows out over threads, call. */
#include "denormals.h"
#include "kernels.h"

/* Rows are shared out in blocks, and each block adds up its own part of the gradients of gain and shift: so these do
 * not depend on the number of threads. Few enough that adding the parts up costs nothing. */
enum { BLOCKS = 64, BLOCK_ROWS = 32, MOST_THREADS = 32 };

static ptrdiff_t block_rows(ptrdiff_t rows)
{
    ptrdiff_t least = (rows + BLOCKS - 1) / BLOCKS;
    return least > BLOCK_ROWS ? least : BLOCK_ROWS;
}

/* One at least, so that sums over nothing come out as zeros. */
static ptrdiff_t block_count(ptrdiff_t rows)
{
    return rows > 0 ? (rows + block_rows(rows) - 1) / block_rows(rows) : 1;
}

static pyrnn_status judge(const pyrnn_norm *norm)
{
    ptrdiff_t product;
    if (!norm)
        return PYRNN_BAD_POINTER;
    if (norm->dtype != PYRNN_F32 && norm->dtype != PYRNN_F64)
        return PYRNN_BAD_DTYPE;
    if (norm->rows < 0 || norm->width < 1)
        return PYRNN_BAD_DIMS;
    if (norm->width > PTRDIFF_MAX / (32 * BLOCKS) - 64 ||
        __builtin_mul_overflow(norm->rows, norm->width, &product) || product > PTRDIFF_MAX / 32 ||
        norm->rows > PTRDIFF_MAX / 32)
        return PYRNN_TOO_LARGE;
    if (norm->threads < 1)
        return PYRNN_BAD_THREADS;
    return PYRNN_OK;
}

/* ---- Calls ---- */

typedef struct {
    const pyrnn_norm *norm;
    const pyrnn_norm_gradients *grads; /* NULL: forward */
    void *y, *stats;
    const pyrnn_kernels *kernels;
    int parts, streams;
    pyrnn_seat seats[MOST_THREADS];
} call;

static void do_blocks(const call *c, int part)
{
    const ptrdiff_t rows = c->norm->rows, size = block_rows(rows), blocks = block_count(rows);
    const size_t bytes = 2 * (size_t)norm_columns(c->norm) * (size_t)c->norm->dtype / 8;
    const share mine = share_of(blocks, part, c->parts);
    for (ptrdiff_t b = mine.from; b < mine.to; b++) {
        ptrdiff_t from = b * size, to = rows - from < size ? rows : from + size;
        if (c->grads)
            c->kernels->norm_backward(c->norm, c->grads, (char *)c->grads->work + (size_t)b * bytes, from, to,
                                      c->streams);
        else
            c->kernels->norm_forward(c->norm, c->y, c->stats, from, to, c->streams);
    }
}

static void finish(const call *c, int part)
{
    const ptrdiff_t width = c->norm->width, line = ALIGNMENT / (c->norm->dtype / 8);
    const ptrdiff_t lines = norm_columns(c->norm) / line;
    const share mine = share_of(lines, part, c->parts);
    ptrdiff_t to = line * mine.to < width ? line * mine.to : width;
    c->kernels->norm_finish(c->norm, c->grads, block_count(c->norm->rows), line * mine.from, to);
}

static void walk(void *context, int number)
{
    call *c = context;
    pyrnn_walk me = c->parts > 1 ? walk_with(c->seats, c->parts, number) : walk_alone();
    fp_state before = denormals_off();
    EACH_PART (part, &me)
        do_blocks(c, part);
    if (c->grads)
        EACH_PART (part, &me)
            finish(c, part);
    fp_restore(before);
}

/* Whether `written` goes past the caches: where they do not hold all that a call reads and writes, whoever reads it next finds
 * nothing of it there. What overwrites an array that was read has its lines already. */
static int streams_past(const pyrnn_norm *norm, const void *written, const void *read, double bytes)
{
    const size_t row = (size_t)norm->width * (size_t)norm->dtype / 8;
    return bytes > (double)pyrnn_level3() && written != read && row % ALIGNMENT == 0 &&
           (uintptr_t)written % ALIGNMENT == 0;
}

/* Rows come from memory: a byte takes as long as three operations of a product. */
static void run(call *c, int arrays)
{
    double bytes = (double)arrays * (double)c->norm->rows * (double)c->norm->width * c->norm->dtype / 8;
    c->streams = c->grads ? streams_past(c->norm, c->grads->dx, c->grads->dy, bytes)
                          : streams_past(c->norm, c->y, c->norm->x, bytes);
    int most = c->norm->threads < MOST_THREADS ? c->norm->threads : MOST_THREADS;
    c->kernels = pyrnn_kernels_of(pyrnn_isa_selected(), c->norm->dtype);
    c->parts = pyrnn_useful_threads(most, 3 * bytes);
    crew_init(c->seats, c->parts);
    pyrnn_crew_run(walk, c, c->parts, 3 * bytes);
}

pyrnn_status pyrnn_norm_forward(const pyrnn_norm *norm, void *y, void *stats)
{
    pyrnn_status status = judge(norm);
    if (status)
        return status;
    if (!norm->gain || !norm->shift || ((!norm->x || !y) && norm->rows > 0))
        return PYRNN_BAD_POINTER;
    call c = {.norm = norm, .y = y, .stats = stats};
    run(&c, 2);
    return PYRNN_OK;
}

pyrnn_status pyrnn_norm_work(const pyrnn_norm *norm, size_t *bytes)
{
    pyrnn_status status = judge(norm);
    if (!status && !bytes)
        status = PYRNN_BAD_POINTER;
    if (!status)
        *bytes = 2 * (size_t)block_count(norm->rows) * (size_t)norm_columns(norm) * (size_t)norm->dtype / 8;
    return status;
}

pyrnn_status pyrnn_norm_backward(const pyrnn_norm *norm, const pyrnn_norm_gradients *grads)
{
    pyrnn_status status = judge(norm);
    if (status)
        return status;
    if (!grads || !grads->dgain || !grads->dshift || !grads->work || (uintptr_t)grads->work % ALIGNMENT)
        return PYRNN_BAD_POINTER;
    if (norm->rows > 0 && (!norm->x || !norm->gain || !grads->stats || !grads->dy || !grads->dx))
        return PYRNN_BAD_POINTER;
    call c = {.norm = norm, .grads = grads};
    run(&c, 3);
    return PYRNN_OK;
}
