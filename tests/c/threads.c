/* Threads: whatever shares a call's work, in one call, in several side by side or with another caller, its results are
 * those of one thread, bit for bit. Every cell, in shapes whose units and whose rows are shared out. Made for
 * ThreadSanitizer too: what threads exchange is plain memory, whose races it reports.
 *
 * usage: pyrnn_c_threads [REPETITIONS]   of everything that depends on who comes first
 *
 * Prints what was run and exits with the number of failures. */
#include "check.h"
#include <math.h>
#include <pthread.h>

static int repetitions = 4;

/* ---- Layers and calls ---- */

typedef struct {
    const char *name;
    ptrdiff_t B, I, H;
} shape;

typedef struct {
    pyrnn_layer layer;
    pyrnn_cell_info info;
    ptrdiff_t T, B;
    void *forward, *backward; /* packed */
    float *x, *dy, *state0[PYRNN_MAX_STATES], *dstate[PYRNN_MAX_STATES];
} net;

/* A forward and a backward call, with results of their own. */
typedef struct {
    pyrnn_sequence seq;
    pyrnn_outputs out;
    pyrnn_gradients grads;
} call;

static float *room(ptrdiff_t n) { return buffer((size_t)n * sizeof(float)); }

static float *numbers(ptrdiff_t n, double scale)
{
    static unsigned seed = 1;
    float *p = room(n);
    for (ptrdiff_t k = 0; k < n; k++) {
        seed = seed * 1664525u + 1013904223u;
        p[k] = (float)(((double)(seed >> 8) / (1 << 23) - 1) * scale);
    }
    return p;
}

/* Frees what a repetition has made: there may be many of them. */
static void release_to(int mark)
{
    while (n_buffers > mark)
        free(buffers[--n_buffers]);
}

static void *pack(const net *n, int use, const float *w_ih, const float *w_hh, const float *bias)
{
    size_t bytes;
    expect(!pyrnn_packed_size(&n->layer, use, &bytes), "pyrnn_packed_size");
    void *packed = buffer(bytes);
    expect(!pyrnn_pack(&n->layer, use, w_ih, w_hh, bias, NULL, w_hh, NULL, packed), "pyrnn_pack");
    void *shared = buffer(bytes);
    expect(!pyrnn_pack_shared(&n->layer, use, 3, w_ih, w_hh, bias, NULL, w_hh, NULL, shared),
           "pyrnn_pack_shared");
    expect(!memcmp(packed, shared, bytes), "packs of one thread and of three");
    return packed;
}

/* As many steps as make `flops` forward, whatever the cell. */
static net make(int cell, const shape *s, double flops)
{
    net n = {.layer = {cell, PYRNN_F32, s->I, s->H}, .B = s->B};
    expect(!pyrnn_describe(cell, &n.info), "pyrnn_describe");
    ptrdiff_t gh = n.info.gates * s->H;
    double step = 2. * (double)(s->B * s->H) * (double)(n.info.gates * s->I + n.info.recurrent * s->H);
    n.T = (ptrdiff_t)ceil(flops / step);
    float *w_ih = numbers(gh * s->I, 0.5), *w_hh = numbers(gh * s->H, 0.05), *bias = numbers(gh, 0.5);
    n.forward = pack(&n, PYRNN_FORWARD, w_ih, w_hh, bias);
    n.backward = pack(&n, PYRNN_BACKWARD, w_ih, w_hh, bias);
    n.x = numbers(n.T * n.B * s->I, 1), n.dy = numbers(n.T * n.B * s->H, 1);
    for (int q = 0; q < n.info.states; q++)
        n.state0[q] = numbers(n.B * s->H, 1), n.dstate[q] = numbers(n.B * s->H, 1);
    return n;
}

static call prepare(const net *n, int reverse, int threads)
{
    ptrdiff_t T = n->T, B = n->B, I = n->layer.inputs, H = n->layer.units, gh = n->info.gates * H,
              rh = n->info.recurrent * H;
    size_t bytes;
    call c = {.seq = {.T = T, .B = B, .reverse = reverse, .threads = threads, .x = n->x},
              .out = {.packed = n->forward, .y = room(T * B * H), .y_step = B * H, .y_row = H},
              .grads = {.packed = n->backward, .dy = n->dy, .dy_step = B * H, .dy_row = H}};
    c.seq.x_step = B * I, c.seq.x_row = I;
    expect(!pyrnn_saved_size(&n->layer, T, B, &bytes), "pyrnn_saved_size");
    c.grads.saved = c.out.saved = buffer(bytes);
    expect(!pyrnn_forward_work(n->forward, &c.seq, &bytes), "pyrnn_forward_work");
    c.out.work = buffer(bytes);
    expect(!pyrnn_backward_work(n->backward, &c.seq, &bytes), "pyrnn_backward_work");
    c.grads.work = buffer(bytes);
    c.grads.dx = room(T * B * I), c.grads.dx_step = B * I, c.grads.dx_row = I;
    c.grads.dw_ih = room(gh * I), c.grads.dw_hh = room(rh * H);
    c.grads.db_ih = room(gh), c.grads.db_hh = room(rh);
    for (int q = 0; q < n->info.states; q++) {
        c.seq.state0[q] = n->state0[q], c.out.state[q] = room(B * H);
        c.grads.dstate[q] = n->dstate[q], c.grads.dstate0[q] = room(B * H);
    }
    return c;
}

static void run(const call *c)
{
    expect(!pyrnn_forward(&c->seq, &c->out), "pyrnn_forward");
    expect(!pyrnn_backward(&c->seq, &c->grads), "pyrnn_backward");
}

/* How much work a call asks for grows with its threads, and shows that it has some. */
static void uses_threads(const net *n)
{
    if (n->info.recurrent == 0 && n->B == 1)
        return; /* it has no product of which units could be shared */
    for (int use = PYRNN_FORWARD; use <= PYRNN_BACKWARD; use++) {
        size_t bytes[2] = {0};
        for (int k = 0; k < 2; k++) {
            pyrnn_sequence seq = {.T = n->T, .B = n->B, .threads = 1 + k};
            expect(!(use == PYRNN_FORWARD ? pyrnn_forward_work(n->forward, &seq, &bytes[k])
                                          : pyrnn_backward_work(n->backward, &seq, &bytes[k])),
                   "pyrnn_forward_work, pyrnn_backward_work");
        }
        expect(bytes[0] != bytes[1] || !pyrnn_threads_possible(), "the call is large enough for two threads");
    }
}

/* One thread's results of both directions, which all others are to be. */
static void alone(const net *n, call known[2])
{
    for (int reverse = 0; reverse < 2; reverse++) {
        known[reverse] = prepare(n, reverse, 1);
        run(&known[reverse]);
        const float *y = known[reverse].out.y, *dw_hh = known[reverse].grads.dw_hh;
        ptrdiff_t H = n->layer.units, finite = 1;
        for (ptrdiff_t k = 0; k < n->T * n->B * H; k++)
            finite &= isfinite(y[k]) != 0;
        for (ptrdiff_t k = 0; k < n->info.recurrent * H * H; k++)
            finite &= isfinite(dw_hh[k]) != 0;
        expect((int)finite, "one thread writes all numbers"); /* else equal bits would show nothing */
    }
}

static void compare(const net *n, const call *got, const call *known, const char *what)
{
    ptrdiff_t T = n->T, B = n->B, I = n->layer.inputs, H = n->layer.units, gh = n->info.gates * H,
              rh = n->info.recurrent * H;
    const struct {
        const char *name;
        const void *got, *known;
        ptrdiff_t count;
    } all[] = {
        {"y", got->out.y, known->out.y, T * B * H},
        {"state", got->out.state[0], known->out.state[0], B * H},
        {"last state", got->out.state[n->info.states - 1], known->out.state[n->info.states - 1], B * H},
        {"dx", got->grads.dx, known->grads.dx, T * B * I},
        {"dstate0", got->grads.dstate0[0], known->grads.dstate0[0], B * H},
        {"last dstate0", got->grads.dstate0[n->info.states - 1], known->grads.dstate0[n->info.states - 1],
         B * H},
        {"dw_ih", got->grads.dw_ih, known->grads.dw_ih, gh * I},
        {"dw_hh", got->grads.dw_hh, known->grads.dw_hh, rh * H},
        {"db_ih", got->grads.db_ih, known->grads.db_ih, gh},
        {"db_hh", got->grads.db_hh, known->grads.db_hh, rh}};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        if (memcmp(all[k].got, all[k].known, (size_t)all[k].count * sizeof(float))) {
            printf("FAILED: %s, B %td, I %td, H %td, reverse %d, threads %d: %s of %s\n", n->info.name, B, I,
                   H, got->seq.reverse, got->seq.threads, all[k].name, what);
            failures++;
        }
}

/* ---- One call, several calls ---- */

enum { DIRECTIONS = 2, CALLS = 10 }; /* more than the library takes at once */

static void run_many(int n, int at_once, const call *calls)
{
    pyrnn_sequence seqs[CALLS];
    pyrnn_outputs outs[CALLS];
    pyrnn_gradients grads[CALLS];
    for (int i = 0; i < n; i++)
        seqs[i] = calls[i].seq, outs[i] = calls[i].out, grads[i] = calls[i].grads;
    expect(!pyrnn_forward_many(n, at_once, seqs, outs), "pyrnn_forward_many");
    expect(!pyrnn_backward_many(n, at_once, seqs, grads), "pyrnn_backward_many");
}

static void threads_do_not_matter(const net *n)
{
    call known[DIRECTIONS];
    alone(n, known);
    const int mark = n_buffers;
    for (int threads = 2; threads <= 3; threads++)
        for (int repetition = 0; repetition < repetitions; repetition++) {
            call c = prepare(n, repetition % 2, threads);
            run(&c);
            compare(n, &c, &known[repetition % 2], "one call");
            release_to(mark);
        }
    for (int at_once = 1; at_once <= 2; at_once++)
        for (int repetition = 0; repetition < repetitions; repetition++) {
            int threads = 1 + (at_once + repetition) % 2; /* of each; two at once with two each, too */
            call c[DIRECTIONS] = {prepare(n, 0, threads), prepare(n, 1, threads)};
            run_many(DIRECTIONS, at_once, c);
            for (int reverse = 0; reverse < DIRECTIONS; reverse++)
                compare(n, &c[reverse], &known[reverse], at_once == 1 ? "one at once" : "two at once");
            release_to(mark);
        }
}

/* More calls than the library takes at once, of different lengths and inputs: each finds its own arrays. */
static void many_calls(const net *longest)
{
    net nets[CALLS];
    call known[CALLS], got[CALLS];
    for (int i = 0; i < CALLS; i++) {
        nets[i] = *longest;
        nets[i].T -= i, nets[i].x += i;
        known[i] = prepare(&nets[i], i % 2, 1);
        run(&known[i]);
    }
    for (int at_once = 1; at_once <= 3; at_once++) {
        for (int i = 0; i < CALLS; i++)
            got[i] = prepare(&nets[i], i % 2, 1 + i % 2);
        run_many(CALLS, at_once, got);
        for (int i = 0; i < CALLS; i++)
            compare(&nets[i], &got[i], &known[i], "ten calls");
    }
}

/* ---- Refusals ---- */

static void statuses(const net *n)
{
    pyrnn_sequence seqs[CALLS];
    pyrnn_outputs outs[CALLS];
    pyrnn_gradients grads[CALLS];
    for (int i = 0; i < CALLS; i++) {
        call c = prepare(n, 0, 1);
        seqs[i] = c.seq, outs[i] = c.out, grads[i] = c.grads;
    }
    expect(pyrnn_forward_many(-1, 1, seqs, outs) == PYRNN_BAD_DIMS, "forward, n < 0: BAD_DIMS");
    expect(pyrnn_backward_many(-1, 1, seqs, grads) == PYRNN_BAD_DIMS, "backward, n < 0: BAD_DIMS");
    expect(pyrnn_forward_many(1, 0, seqs, outs) == PYRNN_BAD_THREADS, "forward, at_once 0: BAD_THREADS");
    expect(pyrnn_backward_many(1, 0, seqs, grads) == PYRNN_BAD_THREADS, "backward, at_once 0: BAD_THREADS");
    expect(pyrnn_forward_many(1, 1, NULL, outs) == PYRNN_BAD_POINTER, "forward, seqs NULL: BAD_POINTER");
    expect(pyrnn_forward_many(1, 1, seqs, NULL) == PYRNN_BAD_POINTER, "forward, outs NULL: BAD_POINTER");
    expect(pyrnn_backward_many(1, 1, NULL, grads) == PYRNN_BAD_POINTER, "backward, seqs NULL: BAD_POINTER");
    expect(pyrnn_backward_many(1, 1, seqs, NULL) == PYRNN_BAD_POINTER, "backward, grads NULL: BAD_POINTER");
    expect(!pyrnn_forward_many(0, 1, NULL, NULL), "forward, n = 0");
    expect(!pyrnn_backward_many(0, 1, NULL, NULL), "backward, n = 0");

    for (int at_once = 1; at_once <= 2; at_once++) {
        outs[CALLS - 1].y = NULL; /* beyond what the library takes at once */
        expect(pyrnn_forward_many(CALLS, at_once, seqs, outs) == PYRNN_BAD_POINTER,
               "the last forward call's status");
        seqs[3].threads = 0;
        expect(pyrnn_forward_many(CALLS, at_once, seqs, outs) == PYRNN_BAD_THREADS,
               "the first failing forward call's status");
        outs[1].packed = n->backward;
        expect(pyrnn_forward_many(CALLS, at_once, seqs, outs) == PYRNN_BAD_PACKED,
               "of two that fail side by side, the first forward call's status");
        outs[1].packed = n->forward;
        seqs[3].threads = 1;

        grads[CALLS - 1].dw_hh = NULL;
        expect(pyrnn_backward_many(CALLS, at_once, seqs, grads) == PYRNN_BAD_POINTER,
               "the last backward call's status");
        seqs[3].threads = 0;
        expect(pyrnn_backward_many(CALLS, at_once, seqs, grads) == PYRNN_BAD_THREADS,
               "the first failing backward call's status");
        seqs[3].threads = 1;
    }
}

/* ---- Two callers ---- */

static void *caller(void *calls)
{
    const call *c = calls;
    pyrnn_sequence seqs[DIRECTIONS] = {c[0].seq, c[1].seq};
    pyrnn_outputs outs[DIRECTIONS] = {c[0].out, c[1].out};
    pyrnn_gradients grads[DIRECTIONS] = {c[0].grads, c[1].grads};
    int status = pyrnn_forward_many(DIRECTIONS, 2, seqs, outs);
    return status || pyrnn_backward_many(DIRECTIONS, 2, seqs, grads) ? calls : NULL;
}

/* Programs' own threads call at once and share the helpers there are. */
static void callers_share_helpers(const net *n)
{
    enum { CALLERS = 2 };
    call known[DIRECTIONS];
    alone(n, known);
    const int mark = n_buffers;
    for (int repetition = 0; repetition < repetitions; repetition++) {
        call c[CALLERS][DIRECTIONS];
        pthread_t threads[CALLERS];
        for (int i = 0; i < CALLERS; i++) /* buffers are the main thread's business */
            for (int reverse = 0; reverse < DIRECTIONS; reverse++)
                c[i][reverse] = prepare(n, reverse, 2);
        for (int i = 0; i < CALLERS; i++)
            if (pthread_create(&threads[i], NULL, caller, c[i]))
                abort();
        for (int i = 0; i < CALLERS; i++) {
            void *failed;
            pthread_join(threads[i], &failed);
            expect(!failed, "calls of two callers");
        }
        for (int i = 0; i < CALLERS; i++)
            for (int reverse = 0; reverse < DIRECTIONS; reverse++)
                compare(n, &c[i][reverse], &known[reverse], "two callers");
        release_to(mark);
    }
}

int main(int argc, char **argv)
{
    /* A call gets a thread for every 2 million operations, and runs beside another from 4 million on. */
    const double three_threads = 3.1e7, side_by_side = 8e6, several_rounds = 1.3e9; /* of 2e8 a thread */
    const shape shapes[] = {{"units shared", 1, 64, 256},
                            {"rows shared", 24, 16, 64},
                            {"slim", 3, 8, 200},
                            {"time loop ahead", 1, 20, 24}};
    if (argc > 1)
        repetitions = atoi(argv[1]);
    for (int cell = 0; cell < PYRNN_CELLS; cell++)
        for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
            net n = make(cell, &shapes[k], three_threads);
            uses_threads(&n);
            threads_do_not_matter(&n);
            callers_share_helpers(&n);
            release();
            printf("%s, %s: T %td, B %td, I %td, H %td\n", n.info.name, shapes[k].name, n.T, n.B,
                   n.layer.inputs, n.layer.units);
        }
    net some = make(PYRNN_lstm, &shapes[1], several_rounds);
    threads_do_not_matter(&some);
    release();
    some = make(PYRNN_lstm, &shapes[0], side_by_side);
    many_calls(&some);
    release();
    some = make(PYRNN_gru, &shapes[0], side_by_side);
    statuses(&some);
    release();
    printf("%s, threads %d\n%d failures\n", pyrnn_isa_name(pyrnn_isa_selected()), pyrnn_threads_possible(),
           failures);
    return failures > 99 ? 99 : failures;
}
