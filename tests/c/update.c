/* The steps of the optimizers with every instruction set that this CPU has, in both dtypes: the formulas, the same bits
 * for any number of threads, and the reasons for which nothing is done. Prints what was run and exits with the number of
 * failures. */
#include "numbers.h"
#include <math.h>
#include <stdint.h>

static pyrnn_update update_of(int rule, int dtype)
{
    return (pyrnn_update){.rule = rule,
                          .dtype = dtype,
                          .threads = 1,
                          .step = 2,
                          .lr = 0.125,
                          .weight_decay = 0.25,
                          .momentum = 0.5,
                          .eps = 0.01,
                          .decay = {0.75, 0.5}};
}

static pyrnn_parameter make(int dtype, ptrdiff_t n)
{
    pyrnn_parameter q = {.size = n, .p = numbers(dtype, n), .g = numbers(dtype, n), .m = numbers(dtype, n)};
    q.v = numbers(dtype, n), q.u = numbers(dtype, n);
    for (ptrdiff_t i = 0; i < n; i++) /* above every m^2 */
        if (dtype == PYRNN_F32)
            ((float *)q.v)[i] += 3;
        else
            ((double *)q.v)[i] += 3;
    return q;
}

static void *copy_of(const void *from, size_t bytes) { return memcpy(buffer(bytes), from, bytes); }

static pyrnn_parameter copied(const pyrnn_parameter *q, size_t bytes)
{
    return (pyrnn_parameter){.size = q->size,
                             .p = copy_of(q->p, bytes),
                             .g = q->g,
                             .m = copy_of(q->m, bytes),
                             .v = copy_of(q->v, bytes),
                             .u = copy_of(q->u, bytes)};
}

/* A number's step, from pyrnn_layers.h. */
static double stepped(const pyrnn_update *u, double p, double g, double m, double v, double fast)
{
    const double b1 = u->decay[0], b2 = u->decay[1];
    if (u->decoupled)
        p -= u->lr * u->weight_decay * p;
    else
        g += u->weight_decay * p;
    if (u->rule == PYRNN_SGD) {
        fast = u->momentum * fast + g;
        return p - u->lr * (u->nesterov ? g + u->momentum * fast : fast);
    }
    m = b1 * m + (1 - b1) * g;
    v = b2 * v + (1 - b2) * g * g;
    if (u->rule == PYRNN_RMSPROP)
        return p - u->lr * (u->momentum * fast + g / (sqrt(v - m * m) + u->eps));
    return p - u->lr * m / (1 - pow(b1, 2)) / (sqrt(v / (1 - pow(b2, 2))) + u->eps);
}

static void follows_the_formula(const pyrnn_update *update, ptrdiff_t n)
{
    const int dtype = update->dtype;
    const double tolerance = 32 * (dtype == PYRNN_F32 ? 0x1p-23 : 0x1p-52);
    pyrnn_parameter before = make(dtype, n), q = copied(&before, (size_t)(n * dtype / 8));
    double error = 0;
    expect(pyrnn_update_run(update, 1, &q) == PYRNN_OK, "a step");
    for (ptrdiff_t i = 0; i < n; i++) {
        double truth = stepped(update, at(dtype, before.p, i), at(dtype, before.g, i), at(dtype, before.m, i),
                               at(dtype, before.v, i), at(dtype, before.u, i));
        error = fmax(error, fabs(at(dtype, q.p, i) - truth));
    }
    expect(error < tolerance, "the parameters after a step");
    release();
}

static void threads_change_nothing(pyrnn_update update)
{
    const ptrdiff_t sizes[] = {200001, 5, 0, 70000};
    enum { N = sizeof sizes / sizeof *sizes };
    pyrnn_parameter first[N], second[N];
    for (int i = 0; i < N; i++) {
        first[i] = make(update.dtype, sizes[i]);
        second[i] = copied(&first[i], (size_t)(sizes[i] * update.dtype / 8));
    }
    expect(pyrnn_update_run(&update, N, first) == PYRNN_OK, "one thread");
    update.threads = 4;
    expect(pyrnn_update_run(&update, N, second) == PYRNN_OK, "four threads");
    for (int i = 0; i < N; i++) {
        size_t bytes = (size_t)(sizes[i] * update.dtype / 8);
        expect(!memcmp(first[i].p, second[i].p, bytes) && !memcmp(first[i].u, second[i].u, bytes) &&
                   !memcmp(first[i].m, second[i].m, bytes) && !memcmp(first[i].v, second[i].v, bytes),
               "the bits of a step by threads");
    }
    release();
}

static void statuses(void)
{
    enum { N = 7 };
    pyrnn_parameter q[2] = {make(PYRNN_F32, N), make(PYRNN_F32, N)};
    pyrnn_parameter before = copied(&q[0], N * sizeof(float));
    pyrnn_update good = update_of(PYRNN_ADAM, PYRNN_F32), bad[12];
    const pyrnn_status status[] = {PYRNN_BAD_DTYPE,  PYRNN_BAD_THREADS, PYRNN_BAD_OPTION, PYRNN_BAD_OPTION,
                                   PYRNN_BAD_OPTION, PYRNN_BAD_OPTION,  PYRNN_BAD_OPTION, PYRNN_BAD_OPTION,
                                   PYRNN_BAD_OPTION, PYRNN_BAD_OPTION,  PYRNN_BAD_OPTION, PYRNN_BAD_OPTION};
    for (int k = 0; k < 12; k++)
        bad[k] = good;
    bad[0].dtype = 16, bad[1].threads = 0, bad[2].rule = PYRNN_RULES, bad[3].rule = -1;
    bad[4].lr = -1, bad[5].lr = NAN, bad[6].eps = INFINITY, bad[7].decay[0] = 1, bad[8].decay[1] = NAN;
    bad[9].momentum = -1, bad[10].weight_decay = NAN, bad[11].step = 0;
    for (int k = 0; k < 12; k++)
        expect(pyrnn_update_run(&bad[k], 2, q) == status[k], "the status of a bad update");
    expect(pyrnn_update_run(NULL, 1, q) == PYRNN_BAD_POINTER, "no update");
    expect(pyrnn_update_run(&good, 1, NULL) == PYRNN_BAD_POINTER, "no parameters");
    expect(pyrnn_update_run(&good, 0, NULL) == PYRNN_OK, "nothing to do");
    expect(pyrnn_update_run(&good, -1, q) == PYRNN_BAD_DIMS, "fewer than no arrays");
    pyrnn_parameter kept = q[1];
    q[1].size = -1;
    expect(pyrnn_update_run(&good, 2, q) == PYRNN_BAD_DIMS, "fewer than no numbers");
    q[1].size = PTRDIFF_MAX / 32;
    expect(pyrnn_update_run(&good, 2, q) == PYRNN_TOO_LARGE, "too many numbers");
    void **const needed[] = {&q[1].p, (void **)&q[1].g, &q[1].m, &q[1].v};
    for (int k = 0; k < 4; k++) {
        q[1] = kept;
        *needed[k] = NULL;
        expect(pyrnn_update_run(&good, 2, q) == PYRNN_BAD_POINTER, "an array that is needed");
    }
    expect(!memcmp(q[0].p, before.p, N * sizeof(float)), "what is refused has changed nothing");
    release();
}

int main(void)
{
    const ptrdiff_t sizes[] = {1, 7, 64, 20001};
    for (int isa = 0; isa < pyrnn_isa_count(); isa++) {
        if (pyrnn_isa_select(isa))
            continue;
        for (int dtype = PYRNN_F32; dtype <= PYRNN_F64; dtype += PYRNN_F64 - PYRNN_F32)
            for (int rule = 0; rule < PYRNN_RULES; rule++) {
                pyrnn_update update = update_of(rule, dtype);
                for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
                    follows_the_formula(&update, sizes[k]);
                    pyrnn_update other = update;
                    other.nesterov = other.decoupled = 1;
                    follows_the_formula(&other, sizes[k]);
                }
                threads_change_nothing(update);
            }
        printf("%s: all rules in both dtypes\n", pyrnn_isa_name(isa));
    }
    statuses();
    printf("%d failures\n", failures);
    return failures > 99 ? 99 : failures;
}
