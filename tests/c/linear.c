/* Affine maps with every instruction set that this CPU has, in both dtypes: the formulas, the same bits for any number of
 * threads, and the reasons for which nothing is done. Prints what was run and exits with the number of failures. */
#include "numbers.h"
#include <math.h>
#include <stdint.h>

enum { MARGIN = 3 }; /* numbers between the rows of x */

typedef struct {
    pyrnn_linear call;
    size_t of_x, of_y, of_w, of_b, work[2]; /* bytes */
    void *y;
    pyrnn_linear_gradients grads;
} problem;

static problem make(int dtype, ptrdiff_t rows, ptrdiff_t inputs, ptrdiff_t outputs)
{
    const size_t item = (size_t)dtype / 8;
    problem p = {.of_x = item * (size_t)(rows * inputs),
                 .of_y = item * (size_t)(rows * outputs),
                 .of_w = item * (size_t)(inputs * outputs),
                 .of_b = item * (size_t)outputs};
    p.call = (pyrnn_linear){.dtype = dtype,
                            .threads = 1,
                            .rows = rows,
                            .inputs = inputs,
                            .outputs = outputs,
                            .x = numbers(dtype, rows * (inputs + MARGIN)),
                            .x_row = inputs + MARGIN,
                            .w = numbers(dtype, inputs * outputs),
                            .b = numbers(dtype, outputs)};
    p.grads =
        (pyrnn_linear_gradients){.dy = numbers(dtype, rows * outputs), .dy_row = outputs, .dx_row = inputs};
    return p;
}

static void run(problem *p)
{
    for (int use = PYRNN_FORWARD; use <= PYRNN_BACKWARD; use++)
        expect(pyrnn_linear_work(&p->call, use, &p->work[use]) == PYRNN_OK, "the size of work");
    p->y = buffer(p->of_y), p->grads.dx = buffer(p->of_x), p->grads.dw = buffer(p->of_w);
    p->grads.db = buffer(p->of_b), p->grads.work = buffer(p->work[PYRNN_BACKWARD]);
    expect(pyrnn_linear_forward(&p->call, p->y, p->call.outputs, buffer(p->work[PYRNN_FORWARD])) == PYRNN_OK,
           "forward");
    expect(pyrnn_linear_backward(&p->call, &p->grads) == PYRNN_OK, "backward");
}

static void follows_the_formula(const problem *p)
{
    const int dtype = p->call.dtype;
    const ptrdiff_t R = p->call.rows, I = p->call.inputs, O = p->call.outputs;
    const double tolerance = dtype == PYRNN_F32 ? 1e-4 : 1e-12;
    for (ptrdiff_t o = 0; o < O; o += 1 + O / 7) {
        double db = 0;
        for (ptrdiff_t r = 0; r < R; r++) {
            double y = at(dtype, p->call.b, o);
            for (ptrdiff_t i = 0; i < I; i++)
                y += at(dtype, p->call.x, r * (I + MARGIN) + i) * at(dtype, p->call.w, o * I + i);
            expect(fabs(at(dtype, p->y, r * O + o) - y) < tolerance, "y");
            db += at(dtype, p->grads.dy, r * O + o);
        }
        expect(fabs(at(dtype, p->grads.db, o) - db) < tolerance, "db");
        for (ptrdiff_t i = 0; i < I; i++) {
            double dw = 0;
            for (ptrdiff_t r = 0; r < R; r++)
                dw += at(dtype, p->grads.dy, r * O + o) * at(dtype, p->call.x, r * (I + MARGIN) + i);
            expect(fabs(at(dtype, p->grads.dw, o * I + i) - dw) < tolerance, "dw");
        }
    }
    for (ptrdiff_t r = 0; r < R; r++)
        for (ptrdiff_t i = 0; i < I; i++) {
            double dx = 0;
            for (ptrdiff_t o = 0; o < O; o++)
                dx += at(dtype, p->grads.dy, r * O + o) * at(dtype, p->call.w, o * I + i);
            expect(fabs(at(dtype, p->grads.dx, r * I + i) - dx) < tolerance, "dx");
        }
}

static void threads_change_nothing(problem *p)
{
    problem other = *p;
    other.call.threads = 4;
    run(p), run(&other);
    expect(!memcmp(p->y, other.y, p->of_y), "y by threads");
    expect(!memcmp(p->grads.dx, other.grads.dx, p->of_x), "dx by threads");
    expect(!memcmp(p->grads.dw, other.grads.dw, p->of_w), "dw by threads");
    expect(!memcmp(p->grads.db, other.grads.db, p->of_b), "db by threads");
}

static void *packed_of(const pyrnn_linear *call)
{
    size_t bytes;
    expect(pyrnn_linear_packed_size(call, &bytes) == PYRNN_OK, "the size of a pack");
    void *packed = buffer(bytes);
    expect(pyrnn_linear_pack(call, packed) == PYRNN_OK, "pack");
    return packed;
}

static void a_pack_changes_nothing(problem *p)
{
    size_t bytes;
    void *y = buffer(p->of_y);
    pyrnn_linear call = p->call;
    run(p);
    call.packed = packed_of(&call), call.w = NULL;
    expect(pyrnn_linear_work(&call, PYRNN_FORWARD, &bytes) == PYRNN_OK, "the size of work beside a pack");
    expect(pyrnn_linear_forward(&call, y, call.outputs, buffer(bytes)) == PYRNN_OK, "forward from a pack");
    expect(!memcmp(p->y, y, p->of_y), "y from a pack");
}

static void statuses_of_packs(void)
{
    problem p = make(PYRNN_F32, 2, 3, 4);
    run(&p);
    pyrnn_linear good = p.call, other = make(PYRNN_F32, 2, 3, 5).call, wrong;
    void *work = buffer(p.work[PYRNN_FORWARD]);
    char *packed = packed_of(&good);
    good.packed = packed;
    expect(pyrnn_linear_forward(&good, p.y, 4, work) == PYRNN_OK, "a pack");
    wrong = good, wrong.packed = packed + 4;
    expect(pyrnn_linear_forward(&wrong, p.y, 4, work) == PYRNN_BAD_POINTER, "a pack that is not aligned");
    wrong = good, wrong.packed = packed_of(&other);
    expect(pyrnn_linear_forward(&wrong, p.y, 4, work) == PYRNN_BAD_PACKED, "the pack of another map");
    packed[0] ^= 1;
    expect(pyrnn_linear_forward(&good, p.y, 4, work) == PYRNN_BAD_PACKED, "no pack");
    size_t bytes;
    wrong = p.call, wrong.outputs = 0;
    expect(pyrnn_linear_packed_size(&wrong, &bytes) == PYRNN_BAD_DIMS, "the pack of nothing");
    expect(pyrnn_linear_pack(&wrong, packed) == PYRNN_BAD_DIMS, "packing nothing");
    expect(pyrnn_linear_packed_size(NULL, &bytes) == PYRNN_BAD_POINTER, "the pack of no call");
    expect(pyrnn_linear_packed_size(&p.call, NULL) == PYRNN_BAD_POINTER, "no size of a pack");
    expect(pyrnn_linear_pack(&p.call, packed + 4) == PYRNN_BAD_POINTER, "packing to where it is not aligned");
    wrong = p.call, wrong.w = NULL;
    expect(pyrnn_linear_pack(&wrong, packed) == PYRNN_BAD_POINTER, "packing no weights");
    expect(pyrnn_linear_forward(&wrong, p.y, 4, work) == PYRNN_BAD_POINTER, "neither weights nor a pack");
    release();
}

static void statuses(void)
{
    problem p = make(PYRNN_F32, 2, 3, 4);
    run(&p);
#define WITH(field, value, status)                                                                           \
    {                                                                                                        \
        pyrnn_linear wrong = p.call;                                                                         \
        size_t bytes;                                                                                        \
        wrong.field = value;                                                                                 \
        expect(pyrnn_linear_work(&wrong, PYRNN_FORWARD, &bytes) == status, "a status of work");              \
        expect(pyrnn_linear_forward(&wrong, p.y, 4, p.grads.work) == status, "a status of forward");         \
        expect(pyrnn_linear_backward(&wrong, &p.grads) == status, "a status of backward");                   \
    }
    WITH(dtype, 16, PYRNN_BAD_DTYPE)
    WITH(threads, 0, PYRNN_BAD_THREADS)
    WITH(rows, -1, PYRNN_BAD_DIMS)
    WITH(inputs, 0, PYRNN_BAD_DIMS)
    WITH(outputs, 0, PYRNN_BAD_DIMS)
    WITH(rows, PTRDIFF_MAX / 2, PYRNN_TOO_LARGE)
    WITH(outputs, PTRDIFF_MAX / 100, PYRNN_TOO_LARGE)
#undef WITH
    pyrnn_linear_gradients grads = p.grads;
    grads.dy = NULL;
    expect(pyrnn_linear_work(&p.call, 0, NULL) == PYRNN_BAD_POINTER, "no size");
    expect(pyrnn_linear_forward(NULL, p.y, 4, p.grads.work) == PYRNN_BAD_POINTER, "no call");
    expect(pyrnn_linear_forward(&p.call, NULL, 4, p.grads.work) == PYRNN_BAD_POINTER, "no y");
    expect(pyrnn_linear_forward(&p.call, p.y, 4, (char *)p.grads.work + 4) == PYRNN_BAD_POINTER,
           "work that is not aligned");
    expect(pyrnn_linear_backward(&p.call, NULL) == PYRNN_BAD_POINTER, "no gradients");
    expect(pyrnn_linear_backward(&p.call, &grads) == PYRNN_BAD_POINTER, "no dy");
    release();
}

int main(void)
{
    const ptrdiff_t shapes[][3] = {{1, 1, 1}, {5, 7, 3}, {70, 65, 100}, {260, 8, 17}};
    for (int isa = 0; isa < pyrnn_isa_count(); isa++) {
        if (pyrnn_isa_select(isa))
            continue;
        for (int dtype = PYRNN_F32; dtype <= PYRNN_F64; dtype += PYRNN_F64 - PYRNN_F32) {
            for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
                problem p = make(dtype, shapes[k][0], shapes[k][1], shapes[k][2]);
                run(&p);
                follows_the_formula(&p);
                release();
            }
            problem large = make(dtype, 600, 130, 200);
            threads_change_nothing(&large);
            a_pack_changes_nothing(&large);
            release();
        }
        printf("%s: both dtypes\n", pyrnn_isa_name(isa));
    }
    statuses();
    statuses_of_packs();
    printf("%d failures\n", failures);
    return failures > 99 ? 99 : failures;
}
