/* Single steps and the floating-point environment, with every instruction set that this CPU has, every cell and both
 * dtypes: a step is pyrnn_forward's, bit for bit; it does not allocate; subnormal numbers count as zeros; and every
 * call leaves the caller's settings as they were. Prints what was run and exits with the number of failures. */
#include "check.h"
#include "guard.h"

#if defined __SSE2__
#include <xmmintrin.h>
enum { ROUND_UP = 0x4000, FLUSH = 0x8000, DIVISION_TRAPS = 0x0200, HAS_SETTINGS = 1, FLUSHES = 1 };
static unsigned long settings(void) { return _mm_getcsr(); }
static void set(unsigned long to) { _mm_setcsr((unsigned)to); }
#elif defined __aarch64__
enum { ROUND_UP = 1 << 22, FLUSH = 1 << 24, DIVISION_TRAPS = 0, HAS_SETTINGS = 1, FLUSHES = 1 };
static unsigned long settings(void)
{
    unsigned long found;
    __asm__ volatile("mrs %0, fpcr" : "=r"(found));
    return found;
}
static void set(unsigned long to) { __asm__ volatile("msr fpcr, %0" : : "r"(to)); }
#else
enum { ROUND_UP = 0, FLUSH = 0, DIVISION_TRAPS = 0, HAS_SETTINGS = 0, FLUSHES = 0 };
static unsigned long settings(void) { return 0; }
static void set(unsigned long to) { (void)to; }
#endif

/* ---- A layer with random weights ---- */

enum { T = 5 };

typedef struct {
    pyrnn_layer layer;
    pyrnn_cell_info info;
    ptrdiff_t B;
    size_t item, x_bytes, h_bytes; /* bytes of a number, of a step's x and h */
    void *w_ih, *w_hh, *bias, *units;
    void *packed, *step;
} net;

static void *numbers(int dtype, ptrdiff_t n, double scale)
{
    static unsigned seed = 1;
    void *p = buffer((size_t)n * (size_t)dtype / 8);
    for (ptrdiff_t k = 0; k < n; k++) {
        seed = seed * 1664525u + 1013904223u;
        double v = ((double)(seed >> 8) / (1 << 23) - 1) * scale;
        if (dtype == PYRNN_F32)
            ((float *)p)[k] = (float)v;
        else
            ((double *)p)[k] = v;
    }
    return p;
}

static net make(int cell, int dtype, ptrdiff_t B, ptrdiff_t I, ptrdiff_t H)
{
    net n = {.layer = {cell, dtype, I, H}, .B = B, .item = (size_t)dtype / 8};
    size_t bytes;
    pyrnn_describe(cell, &n.info);
    n.x_bytes = n.item * (size_t)(B * I), n.h_bytes = n.item * (size_t)(B * H);
    n.w_ih = numbers(dtype, n.info.gates * H * I, 1);
    n.w_hh = numbers(dtype, n.info.gates * H * H, 0.3);
    n.bias = numbers(dtype, n.info.gates * H, 1);
    n.units = numbers(dtype, n.info.units * H, 0.3);
    pyrnn_packed_size(&n.layer, PYRNN_FORWARD, &bytes);
    n.packed = buffer(bytes);
    expect(!pyrnn_pack(&n.layer, PYRNN_FORWARD, n.w_ih, n.w_hh, n.bias, NULL, n.units, NULL, n.packed),
           "pyrnn_pack");
    expect(!pyrnn_step_size(n.packed, B, &bytes), "pyrnn_step_size");
    n.step = buffer(bytes);
    expect(!pyrnn_step_init(n.packed, B, n.step), "pyrnn_step_init");
    return n;
}

static char *at(void *p, size_t bytes) { return (char *)p + bytes; }

/* All steps at once, by pyrnn_forward. */
static void whole(const net *n, const void *x, void *const *state0, void *const *state, void *y)
{
    pyrnn_sequence seq = {.T = T, .B = n->B, .threads = 1, .x = x};
    pyrnn_outputs out = {.packed = n->packed, .y = y};
    size_t bytes;
    seq.x_row = n->layer.inputs, seq.x_step = n->B * seq.x_row;
    out.y_row = n->layer.units, out.y_step = n->B * out.y_row;
    for (int q = 0; q < n->info.states; q++)
        seq.state0[q] = state0 ? state0[q] : NULL, out.state[q] = state[q];
    pyrnn_forward_work(n->packed, &seq, &bytes);
    out.work = buffer(bytes);
    expect(!pyrnn_forward(&seq, &out), "pyrnn_forward");
}

static void states(const net *n, void **state)
{
    for (int q = 0; q < n->info.states; q++)
        state[q] = numbers(n->layer.dtype, n->B * n->layer.units, 1);
}

static void compare(const net *n, void *const *state, void *const *expected, const char *what)
{
    for (int q = 0; q < n->info.states; q++)
        expect(!memcmp(state[q], expected[q], n->h_bytes), what);
}

/* ---- Laws ---- */

static void steps_are_the_whole(const net *n)
{
    void *x = numbers(n->layer.dtype, T * n->B * n->layer.inputs, 1), *y = buffer(T * n->h_bytes);
    void *start[PYRNN_MAX_STATES], *end[PYRNN_MAX_STATES], *state[2][PYRNN_MAX_STATES],
        *h = buffer(n->h_bytes);
    states(n, start), states(n, end), states(n, state[0]), states(n, state[1]);
    whole(n, x, start, end, y);

    for (int wanted = 0; wanted < 2; wanted++) { /* in place, y wanted or not */
        for (int q = 0; q < n->info.states; q++)
            memcpy(state[0][q], start[q], n->h_bytes);
        forbid();
        for (size_t t = 0; t < T; t++) {
            pyrnn_step(n->step, at(x, t * n->x_bytes), NULL, state[0], wanted ? h : NULL);
            if (memcmp(wanted ? h : state[0][0], at(y, t * n->h_bytes), n->h_bytes))
                break;
        }
        expect(!allowed(), "a step in place allocates nothing");
        compare(n, state[0], end, "steps in place are pyrnn_forward's");
    }
    for (int wanted = 0; wanted < 2; wanted++) { /* from one place to another */
        const void *const *before = (const void *const *)start;
        forbid();
        for (size_t t = 0; t < T; t++) {
            pyrnn_step(n->step, at(x, t * n->x_bytes), before, state[t % 2], wanted ? h : NULL);
            if (memcmp(wanted ? h : state[t % 2][0], at(y, t * n->h_bytes), n->h_bytes))
                break;
            before = (const void *const *)state[t % 2];
        }
        expect(!allowed(), "a step allocates nothing");
        compare(n, state[(T - 1) % 2], end, "steps are pyrnn_forward's");
    }
    const void *none[PYRNN_MAX_STATES] = {NULL};
    whole(n, x, NULL, end, y);
    pyrnn_step(n->step, x, none, state[0], h);
    expect(!memcmp(h, y, n->h_bytes) && !memcmp(state[0][0], y, n->h_bytes), "a step from zeros");
}

/* From subnormal inputs and states follows what follows from zeros. */
static void subnormals_are_zeros(const net *n)
{
    const double tiny = n->layer.dtype == PYRNN_F32 ? 0x1p-128 : 0x1p-1024;
    void *state[2][PYRNN_MAX_STATES];
    pyrnn_pack(&n->layer, PYRNN_FORWARD, n->w_ih, n->w_hh, NULL, NULL, n->units, NULL, n->packed);
    for (int zero = 0; zero < 2; zero++) {
        void *x = numbers(n->layer.dtype, n->B * n->layer.inputs, zero ? 0 : tiny);
        for (int q = 0; q < n->info.states; q++)
            state[zero][q] = numbers(n->layer.dtype, n->B * n->layer.units, zero ? 0 : tiny);
        pyrnn_step(n->step, x, NULL, state[zero], NULL);
    }
    for (int q = 0; q < n->info.states; q++)
        for (ptrdiff_t k = 0; k < n->B * n->layer.units; k++)
            expect(n->layer.dtype == PYRNN_F32 ? ((float *)state[0][q])[k] == ((float *)state[1][q])[k]
                                               : ((double *)state[0][q])[k] == ((double *)state[1][q])[k],
                   "subnormal numbers are zeros");
}

/* A backward pass of this layer, in `threads` threads, of which dw_hh is returned. */
static void *trained(const net *n, int threads, ptrdiff_t steps)
{
    size_t bytes;
    ptrdiff_t I = n->layer.inputs, H = n->layer.units, gh = n->info.gates * H, B = n->B;
    void *state[PYRNN_MAX_STATES], *packed, *dw_hh = buffer(n->item * (size_t)(gh * H));
    char *x = buffer((size_t)steps * n->x_bytes), *dy = buffer((size_t)steps * n->h_bytes);
    memset(x, 0x3d, (size_t)steps * n->x_bytes); /* 0.046 or 1e-13 */
    memset(dy, 0x3d, (size_t)steps * n->h_bytes);
    states(n, state);
    pyrnn_sequence seq = {.T = steps, .B = B, .threads = threads, .x = x, .x_step = B * I, .x_row = I};
    pyrnn_outputs out = {.packed = n->packed, .y_step = B * H, .y_row = H};
    pyrnn_forward_work(n->packed, &seq, &bytes);
    out.work = buffer(bytes), out.y = buffer((size_t)steps * n->h_bytes);
    pyrnn_saved_size(&n->layer, steps, B, &bytes);
    out.saved = buffer(bytes);
    memcpy(out.state, state, sizeof(state));
    expect(!pyrnn_forward(&seq, &out), "pyrnn_forward, training");
    pyrnn_packed_size(&n->layer, PYRNN_BACKWARD, &bytes);
    packed = buffer(bytes);
    pyrnn_pack(&n->layer, PYRNN_BACKWARD, n->w_ih, n->w_hh, n->bias, NULL, n->units, NULL, packed);
    pyrnn_backward_work(packed, &seq, &bytes);
    pyrnn_gradients grads = {.packed = packed, .saved = out.saved, .dy = dy, .dy_step = B * H, .dy_row = H};
    grads.dw_ih = buffer(n->item * (size_t)(gh * I)), grads.dw_hh = dw_hh, grads.work = buffer(bytes);
    expect(!pyrnn_backward(&seq, &grads), "pyrnn_backward");
    return dw_hh;
}

/* Whatever the caller's settings are, calls put them back, and their results are the same. */
static void settings_are_left_alone(const net *n, ptrdiff_t steps)
{
    const unsigned long start = settings();
    const unsigned long all[] = {start, start | ROUND_UP, start | FLUSH,
                                 (start | ROUND_UP) & ~(unsigned long)DIVISION_TRAPS};
    size_t gradient = n->item * (size_t)(n->info.gates * n->layer.units * n->layer.units);
    void *x = numbers(n->layer.dtype, n->B * n->layer.inputs, 1), *known = trained(n, 1, steps);
    void *end[PYRNN_MAX_STATES], *state[PYRNN_MAX_STATES];
    const void *none[PYRNN_MAX_STATES] = {NULL};
    states(n, end), states(n, state);
    pyrnn_step(n->step, x, none, end, NULL);
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        set(all[k]);
        pyrnn_step(n->step, x, none, state, NULL);
        unsigned long step_left = settings();
        void *found[2] = {trained(n, 1, steps), trained(n, 2, steps)};
        unsigned long left = settings();
        set(start);
        /* The test's own conversions may raise flags between the calls; a step raises none. */
        expect(step_left == all[k], "a step leaves the settings as they were");
        expect((left & ~0x3ful) == (all[k] & ~0x3ful), "calls leave the settings as they were");
        compare(n, state, end, "a step does not depend on the settings");
        expect(!memcmp(found[0], known, gradient) && !memcmp(found[1], known, gradient),
               "gradients do not depend on the settings");
    }
    expect(!HAS_SETTINGS || settings() == start, "the settings can be read");
}

/* ---- Refusals ---- */

static void statuses(void)
{
    net n = make(PYRNN_lstm, PYRNN_F32, 1, 1, 1);
    size_t bytes = 42;
    char *memory = buffer(4096);
    expect(pyrnn_step_size(NULL, 1, &bytes) == PYRNN_BAD_POINTER, "packed NULL: BAD_POINTER");
    expect(pyrnn_step_size(n.packed, 1, NULL) == PYRNN_BAD_POINTER, "bytes NULL: BAD_POINTER");
    expect(pyrnn_step_size(n.packed, -1, &bytes) == PYRNN_BAD_DIMS, "B < 0: BAD_DIMS");
    expect(pyrnn_step_size(n.packed, PTRDIFF_MAX, &bytes) == PYRNN_TOO_LARGE, "B = max: TOO_LARGE");
    expect(pyrnn_step_size(memset(memory, 0, 64), 1, &bytes) == PYRNN_BAD_PACKED, "zeros: BAD_PACKED");
    expect(bytes == 42, "a refused question leaves its answer alone");
    expect(pyrnn_step_init(n.packed, 1, NULL) == PYRNN_BAD_POINTER, "memory NULL: BAD_POINTER");
    expect(pyrnn_step_init(n.packed, 1, memory + 8) == PYRNN_BAD_POINTER, "memory + 8: BAD_POINTER");
    expect(pyrnn_step_init(n.packed, -1, memory) == PYRNN_BAD_DIMS, "B < 0: BAD_DIMS");
    expect(!pyrnn_step_size(n.packed, 0, &bytes), "B = 0");
    void *step = buffer(bytes), *state[PYRNN_MAX_STATES] = {NULL};
    expect(!pyrnn_step_init(n.packed, 0, step), "B = 0");
    pyrnn_step(step, NULL, NULL, state, NULL);
    release();
}

static void the_guard_sees(void)
{
    forbid();
    free(buffers[n_buffers++] = malloc(1));
    n_buffers--;
    expect(allowed() == 2 * GUARDED, "the guard sees malloc and free");
}

int main(void)
{
    const ptrdiff_t shapes[][2] = {{1, 1}, {3, 7}, {1, 40}, {2, 70}};
    the_guard_sees();
    for (int isa = 0; isa < pyrnn_isa_count(); isa++) {
        if (pyrnn_isa_select(isa))
            continue;
        for (int cell = 0; cell < PYRNN_CELLS; cell++)
            for (int dtype = PYRNN_F32; dtype <= PYRNN_F64; dtype += PYRNN_F64 - PYRNN_F32) {
                for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
                    for (ptrdiff_t B = 1; B <= 3; B += 2) {
                        net n = make(cell, dtype, B, shapes[k][0], shapes[k][1]);
                        steps_are_the_whole(&n);
                        if (FLUSHES)
                            subnormals_are_zeros(&n);
                        release();
                    }
                net small = make(cell, dtype, 3, 2, 17);
                settings_are_left_alone(&small, 4);
                release();
            }
        net large = make(PYRNN_lstm, PYRNN_F32, 40, 8, 64); /* enough for two threads */
        settings_are_left_alone(&large, 20);
        release();
        statuses();
        printf("%s: every cell and dtype%s\n", pyrnn_isa_name(isa),
               GUARDED ? "" : "; allocation is not guarded");
    }
    printf("%d failures\n", failures);
    return failures > 99 ? 99 : failures;
}
