/* Layer normalization with every instruction set that this CPU has, in both dtypes: the formula forward, sums that
 * vanish backward, the same bits for any number of threads, and the reasons for which nothing is done. Prints what
 * was run and exits with the number of failures. */
#include "numbers.h"
#include <math.h>
#include <stdint.h>

enum { MARGIN = 3 }; /* numbers between the rows of x */

typedef struct {
    pyrnn_norm norm;
    size_t bytes, row; /* of y and of gain */
    void *y, *stats;
    pyrnn_norm_gradients grads;
} problem;

static problem make(int dtype, ptrdiff_t rows, ptrdiff_t n)
{
    size_t item = (size_t)dtype / 8, work;
    problem p = {.bytes = item * (size_t)(rows * n), .row = item * (size_t)n};
    p.norm = (pyrnn_norm){
        .dtype = dtype, .threads = 1, .rows = rows, .width = n, .eps = 1e-5, .x_row = n + MARGIN};
    p.norm.x = numbers(dtype, rows * (n + MARGIN));
    p.norm.gain = numbers(dtype, n), p.norm.shift = numbers(dtype, n);
    p.y = buffer(p.bytes), p.stats = buffer(2 * item * (size_t)rows);
    p.grads = (pyrnn_norm_gradients){.stats = p.stats, .dy = numbers(dtype, rows * n), .dy_row = n};
    expect(pyrnn_norm_work(&p.norm, &work) == PYRNN_OK, "the size of work");
    p.grads.dx = buffer(p.bytes), p.grads.dgain = buffer(p.row), p.grads.dshift = buffer(p.row);
    p.grads.work = buffer(work);
    return p;
}

static void run(const problem *p)
{
    expect(pyrnn_norm_forward(&p->norm, p->y, p->stats) == PYRNN_OK, "forward");
    expect(pyrnn_norm_backward(&p->norm, &p->grads) == PYRNN_OK, "backward");
}

static void follows_the_formula(const problem *p)
{
    const int dtype = p->norm.dtype;
    const double tolerance = dtype == PYRNN_F32 ? 1e-4 : 1e-12;
    for (ptrdiff_t r = 0; r < p->norm.rows; r++) {
        const ptrdiff_t n = p->norm.width, x = r * p->norm.x_row;
        double mean = 0, variance = 0, error = 0, sum = 0;
        for (ptrdiff_t j = 0; j < n; j++)
            mean += at(dtype, p->norm.x, x + j) / (double)n;
        for (ptrdiff_t j = 0; j < n; j++)
            variance += pow(at(dtype, p->norm.x, x + j) - mean, 2) / (double)n;
        for (ptrdiff_t j = 0; j < n; j++) {
            double z = (at(dtype, p->norm.x, x + j) - mean) / sqrt(variance + p->norm.eps);
            double y = z * at(dtype, p->norm.gain, j) + at(dtype, p->norm.shift, j);
            error = fmax(error, fabs(at(dtype, p->y, r * n + j) - y));
            sum += at(dtype, p->grads.dx, r * n + j);
        }
        expect(error < tolerance, "y");
        expect(fabs(sum) < tolerance * (double)n, "a shift of a row changes nothing: dx sums to zero");
    }
}

static void threads_change_nothing(problem *p)
{
    problem other = *p;
    other.norm.threads = 4;
    other.y = buffer(p->bytes), other.grads.dx = buffer(p->bytes);
    other.grads.dgain = buffer(p->row), other.grads.dshift = buffer(p->row);
    run(p);
    run(&other);
    expect(!memcmp(p->y, other.y, p->bytes) && !memcmp(p->grads.dx, other.grads.dx, p->bytes),
           "rows by threads");
    expect(!memcmp(p->grads.dgain, other.grads.dgain, p->row) &&
               !memcmp(p->grads.dshift, other.grads.dshift, p->row),
           "sums by threads");
}

static void statuses(void)
{
    problem p = make(PYRNN_F32, 2, 3);
    const struct {
        int dtype, threads;
        ptrdiff_t rows, width;
        pyrnn_status status;
    } wrong[] = {
        {16, 1, 2, 3, PYRNN_BAD_DTYPE},
        {32, 0, 2, 3, PYRNN_BAD_THREADS},
        {32, 1, -1, 3, PYRNN_BAD_DIMS},
        {32, 1, 2, 0, PYRNN_BAD_DIMS},
        {32, 1, PTRDIFF_MAX / 2, 3, PYRNN_TOO_LARGE},
        {64, 1, 2, PTRDIFF_MAX / 2, PYRNN_TOO_LARGE},
    };
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        pyrnn_norm norm = p.norm;
        size_t bytes;
        norm.dtype = wrong[k].dtype, norm.threads = wrong[k].threads;
        norm.rows = wrong[k].rows, norm.width = wrong[k].width;
        expect(pyrnn_norm_forward(&norm, p.y, NULL) == wrong[k].status, "a status of forward");
        expect(pyrnn_norm_backward(&norm, &p.grads) == wrong[k].status, "a status of backward");
        expect(pyrnn_norm_work(&norm, &bytes) == wrong[k].status, "a status of work");
    }
    pyrnn_norm_gradients grads = p.grads;
    grads.work = (char *)grads.work + 4;
    expect(pyrnn_norm_forward(NULL, p.y, NULL) == PYRNN_BAD_POINTER, "no norm");
    expect(pyrnn_norm_forward(&p.norm, NULL, NULL) == PYRNN_BAD_POINTER, "no y");
    expect(pyrnn_norm_work(&p.norm, NULL) == PYRNN_BAD_POINTER, "no size");
    expect(pyrnn_norm_backward(&p.norm, NULL) == PYRNN_BAD_POINTER, "no gradients");
    expect(pyrnn_norm_backward(&p.norm, &grads) == PYRNN_BAD_POINTER, "work that is not aligned");
    release();
}

int main(void)
{
    const ptrdiff_t shapes[][2] = {{1, 1}, {3, 7}, {40, 33}, {5, 130}};
    for (int isa = 0; isa < pyrnn_isa_count(); isa++) {
        if (pyrnn_isa_select(isa))
            continue;
        for (int dtype = PYRNN_F32; dtype <= PYRNN_F64; dtype += PYRNN_F64 - PYRNN_F32) {
            for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
                problem p = make(dtype, shapes[k][0], shapes[k][1]);
                run(&p);
                follows_the_formula(&p);
                release();
            }
            problem large = make(dtype, 5000, 257);
            threads_change_nothing(&large);
            release();
        }
        printf("%s: both dtypes\n", pyrnn_isa_name(isa));
    }
    statuses();
    printf("%d failures\n", failures);
    return failures > 99 ? 99 : failures;
}
