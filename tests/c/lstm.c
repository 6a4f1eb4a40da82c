/* An LSTM and a GRU through the installed C library: outputs, states and gradients against the numbers of
 * make_expected.py, with every instruction set that this CPU has, in both dtypes; then one call for every
 * status. Prints what was run and exits with the number of failures. */
#include "check.h"
#include <math.h>

typedef struct {
    const char *name;
    int cell, gates, states, reverse;
    ptrdiff_t T, B, I, H, P; /* P is H, or what h is projected to */
    const int64_t *lengths; /* NULL: all T */
    const uint8_t *reset;
    const double *x, *w_ih, *w_hh, *b_ih, *b_hh, *w_hr, *state0, *dy, *dstate;
    const double *y, *state, *dx, *dw_ih, *dw_hh, *db_ih, *db_hh, *dw_hr, *dstate0;
} problem;
#include "expected.h"

static void *array(int dtype, const double *v, ptrdiff_t n)
{
    void *p = buffer((size_t)n * (size_t)dtype / 8);
    for (ptrdiff_t k = 0; v && k < n; k++)
        if (dtype == PYRNN_F32)
            ((float *)p)[k] = (float)v[k];
        else
            ((double *)p)[k] = v[k];
    return p;
}

/* |got - want| <= 4 eps ceil(log2(terms)), relative to the largest number of the array */
static void compare(const char *what, int dtype, const void *got, const double *want, ptrdiff_t n,
                    ptrdiff_t terms)
{
    double scale = 1, worst = 0, eps = dtype == PYRNN_F32 ? 0x1p-23 : 0x1p-52;
    for (ptrdiff_t k = 0; k < n; k++)
        scale = fmax(scale, fabs(want[k]));
    for (ptrdiff_t k = 0; k < n; k++) {
        double error =
            fabs((dtype == PYRNN_F32 ? ((const float *)got)[k] : ((const double *)got)[k]) - want[k]);
        worst = error <= worst ? worst : error; /* a NaN stays */
    }
    if (!(worst <= 4 * eps * ceil(log2((double)terms)) * scale)) {
        printf("FAILED: %s, float%d: off by %g\n", what, dtype, worst);
        failures++;
    }
}

/* Elements of a state. */
static ptrdiff_t size(const problem *p, int state) { return p->B * (state == 0 ? p->P : p->H); }

/* The states one by one, or room for them. */
static void states(int dtype, const problem *p, const double *v, void **state)
{
    for (int s = 0; s < p->states; v += v ? size(p, s) : 0, s++)
        state[s] = array(dtype, v, size(p, s));
}

static void compare_states(const char *what, int dtype, const problem *p, void *const *got,
                           const double *want, ptrdiff_t terms)
{
    for (int s = 0; s < p->states; want += size(p, s), s++)
        compare(what, dtype, got[s], want, size(p, s), terms);
}

static void run(const problem *p, int dtype, int threads)
{
    ptrdiff_t T = p->T, B = p->B, I = p->I, H = p->H, P = p->P, n = p->gates * H, terms = (I + H) * T;
    pyrnn_layer layer = {
        .cell = p->cell, .dtype = dtype, .inputs = I, .units = H, .projection = P < H ? P : 0};
    void *w_ih = array(dtype, p->w_ih, n * I), *w_hh = array(dtype, p->w_hh, n * P);
    void *w_hr = P < H ? array(dtype, p->w_hr, P * H) : NULL;
    void *b_ih = array(dtype, p->b_ih, n), *b_hh = array(dtype, p->b_hh, n), *packed[2];
    for (int use = PYRNN_FORWARD; use <= PYRNN_BACKWARD; use++) {
        size_t bytes;
        expect(pyrnn_packed_size(&layer, use, &bytes) == PYRNN_OK, "pyrnn_packed_size");
        packed[use] = buffer(bytes);
        expect(pyrnn_pack(&layer, use, w_ih, w_hh, b_ih, b_hh, NULL, w_hr, packed[use]) == PYRNN_OK,
               "pyrnn_pack");
        pyrnn_layer found;
        int isa = -1;
        expect(pyrnn_open_packed(packed[use], use, &found, &isa) == PYRNN_OK && isa == pyrnn_isa_selected(),
               "pyrnn_open_packed");
        expect(found.cell == layer.cell && found.dtype == layer.dtype && found.inputs == I &&
                   found.units == H && found.projection == layer.projection,
               "the layer that was packed");
        expect(pyrnn_open_packed(packed[use], !use, &found, &isa) == PYRNN_BAD_PACKED, "the other use");
    }
    pyrnn_sequence seq = {.T = T,
                          .B = B,
                          .reverse = p->reverse,
                          .threads = threads,
                          .x = array(dtype, p->x, T * B * I),
                          .x_step = B * I,
                          .x_row = I,
                          .lengths = p->lengths,
                          .reset = p->reset,
                          .reset_step = B,
                          .reset_row = 1};
    void *state0[PYRNN_MAX_STATES], *dstate[PYRNN_MAX_STATES];
    size_t work, saved;
    states(dtype, p, p->state0, state0);
    states(dtype, p, p->dstate, dstate);
    for (int s = 0; s < p->states; s++)
        seq.state0[s] = state0[s];
    expect(pyrnn_forward_work(packed[PYRNN_FORWARD], &seq, &work) == PYRNN_OK, "pyrnn_forward_work");
    expect(pyrnn_saved_size(&layer, T, B, &saved) == PYRNN_OK, "pyrnn_saved_size");

    pyrnn_outputs out = {.packed = packed[PYRNN_FORWARD],
                         .y = array(dtype, NULL, T * B * P),
                         .y_step = B * P,
                         .y_row = P,
                         .work = buffer(work)};
    states(dtype, p, NULL, out.state);
    expect(pyrnn_forward(&seq, &out) == PYRNN_OK, "pyrnn_forward, inference");
    compare("y, inference", dtype, out.y, p->y, T * B * P, terms);
    compare_states("state, inference", dtype, p, out.state, p->state, terms);

    out.y = array(dtype, NULL, T * B * P);
    states(dtype, p, NULL, out.state);
    out.saved = buffer(saved);
    expect(pyrnn_forward(&seq, &out) == PYRNN_OK, "pyrnn_forward, training");
    compare("y, training", dtype, out.y, p->y, T * B * P, terms);
    compare_states("state, training", dtype, p, out.state, p->state, terms);

    expect(pyrnn_backward_work(packed[PYRNN_BACKWARD], &seq, &work) == PYRNN_OK, "pyrnn_backward_work");
    pyrnn_gradients grads = {.packed = packed[PYRNN_BACKWARD],
                             .saved = out.saved,
                             .dy = array(dtype, p->dy, T * B * P),
                             .dy_step = B * P,
                             .dy_row = P,
                             .dx = array(dtype, NULL, T * B * I),
                             .dx_step = B * I,
                             .dx_row = I,
                             .dw_ih = array(dtype, NULL, n * I),
                             .dw_hh = array(dtype, NULL, n * P),
                             .dw_hr = P < H ? array(dtype, NULL, P * H) : NULL,
                             .db_ih = array(dtype, NULL, n),
                             .db_hh = array(dtype, NULL, n),
                             .work = buffer(work)};
    states(dtype, p, NULL, grads.dstate0);
    for (int s = 0; s < p->states; s++)
        grads.dstate[s] = dstate[s];
    expect(pyrnn_backward(&seq, &grads) == PYRNN_OK, "pyrnn_backward");
    compare("dx", dtype, grads.dx, p->dx, T * B * I, 2 * terms);
    compare_states("dstate0", dtype, p, grads.dstate0, p->dstate0, 2 * terms);
    compare("dw_ih", dtype, grads.dw_ih, p->dw_ih, n * I, 2 * terms);
    compare("dw_hh", dtype, grads.dw_hh, p->dw_hh, n * P, 2 * terms);
    if (P < H)
        compare("dw_hr", dtype, grads.dw_hr, p->dw_hr, P * H, 2 * terms);
    compare("db_ih", dtype, grads.db_ih, p->db_ih, n, 2 * terms);
    compare("db_hh", dtype, grads.db_hh, p->db_hh, n, 2 * terms);
    release();
}

/* A call that is wrong in one respect gets that status and leaves its outputs alone. */
static void statuses(void)
{
    pyrnn_layer good = {PYRNN_lstm, PYRNN_F32, 1, 1}, layer = good;
    size_t bytes = 42;
    ptrdiff_t huge = PTRDIFF_MAX;
    pyrnn_cell_info info;

    for (int status = PYRNN_OK; status <= PYRNN_BAD_ISA; status++)
        expect(pyrnn_message(status) && *pyrnn_message(status), "pyrnn_message");
    expect(pyrnn_describe(PYRNN_CELLS, &info) == PYRNN_BAD_CELL, "pyrnn_describe: BAD_CELL");
    expect(pyrnn_describe(PYRNN_lstm, &info) == PYRNN_OK && !strcmp(info.name, "lstm") && info.gates == 4 &&
               info.states == 2,
           "pyrnn_describe");
    expect(pyrnn_isa_select(-1) == PYRNN_BAD_ISA, "pyrnn_isa_select(-1): BAD_ISA");
    expect(pyrnn_isa_select(pyrnn_isa_count()) == PYRNN_BAD_ISA, "pyrnn_isa_select: BAD_ISA");

    layer.cell = -1;
    expect(pyrnn_packed_size(&layer, PYRNN_FORWARD, &bytes) == PYRNN_BAD_CELL, "BAD_CELL");
    layer = good, layer.dtype = 16;
    expect(pyrnn_packed_size(&layer, PYRNN_FORWARD, &bytes) == PYRNN_BAD_DTYPE, "BAD_DTYPE");
    layer = good, layer.units = 0;
    expect(pyrnn_packed_size(&layer, PYRNN_FORWARD, &bytes) == PYRNN_BAD_DIMS, "H = 0: BAD_DIMS");
    layer = good, layer.inputs = -1;
    expect(pyrnn_packed_size(&layer, PYRNN_FORWARD, &bytes) == PYRNN_BAD_DIMS, "I < 0: BAD_DIMS");
    layer = good, layer.inputs = layer.units = huge;
    expect(pyrnn_packed_size(&layer, PYRNN_FORWARD, &bytes) == PYRNN_TOO_LARGE, "H = I = max: TOO_LARGE");
    expect(pyrnn_saved_size(&good, huge, huge, &bytes) == PYRNN_TOO_LARGE, "T = B = max: TOO_LARGE");
    expect(pyrnn_saved_size(&good, -1, 1, &bytes) == PYRNN_BAD_DIMS, "T < 0: BAD_DIMS");
    expect(bytes == 42, "a refused question leaves its answer alone");

    float w[4] = {1, 2, 3, 4}, y = 42, h = 42, c = 42;
    pyrnn_packed_size(&good, PYRNN_FORWARD, &bytes);
    char *packed = buffer(bytes + 64), *backward;
    expect(pyrnn_pack(&good, PYRNN_FORWARD, NULL, w, w, w, NULL, NULL, packed) == PYRNN_BAD_POINTER,
           "w_ih NULL: BAD_POINTER");
    expect(pyrnn_pack(&good, PYRNN_FORWARD, w, w, w, w, NULL, NULL, packed + 4) == PYRNN_BAD_POINTER,
           "packed + 4: BAD_POINTER");
    expect(pyrnn_pack(&good, PYRNN_FORWARD, w, w, NULL, NULL, NULL, NULL, packed) == PYRNN_OK,
           "pyrnn_pack without biases");
    expect(pyrnn_pack_shared(&good, PYRNN_FORWARD, 0, w, w, w, w, NULL, NULL, packed) == PYRNN_BAD_THREADS,
           "no threads: BAD_THREADS");
    float own[10] = {0};
    layer = good, layer.cell = PYRNN_lstm_norm;
    pyrnn_packed_size(&layer, PYRNN_FORWARD, &bytes);
    char *normed = buffer(bytes);
    expect(pyrnn_pack(&layer, PYRNN_FORWARD, w, w, w, w, NULL, NULL, normed) == PYRNN_BAD_POINTER,
           "gains NULL: BAD_POINTER");
    expect(pyrnn_pack(&layer, PYRNN_FORWARD, w, w, w, w, own, NULL, normed) == PYRNN_OK,
           "pyrnn_pack of gains");
    layer.cell = PYRNN_gru_norm, layer.projection = 1, layer.units = 2;
    expect(pyrnn_packed_size(&layer, PYRNN_FORWARD, &bytes) == PYRNN_BAD_OPTION,
           "a projected GRU: BAD_OPTION");
    pyrnn_packed_size(&good, PYRNN_BACKWARD, &bytes);
    backward = buffer(bytes);
    expect(pyrnn_pack(&good, PYRNN_BACKWARD, w, w, NULL, NULL, NULL, NULL, backward) == PYRNN_OK,
           "pyrnn_pack for backward");

    pyrnn_sequence ok = {.T = 1, .B = 1, .threads = 1, .x = w, .x_step = 1, .x_row = 1}, seq = ok;
    pyrnn_forward_work(packed, &ok, &bytes);
    pyrnn_outputs out = {packed, &y, 1, 1, {&h, &c}, NULL, bytes ? buffer(bytes) : NULL}, bad = out;
    seq.threads = 0;
    expect(pyrnn_forward(&seq, &out) == PYRNN_BAD_THREADS, "BAD_THREADS");
    seq = ok, seq.lengths = (const int64_t[]){2};
    expect(pyrnn_forward(&seq, &out) == PYRNN_BAD_LENGTHS, "length > T: BAD_LENGTHS");
    seq = ok, seq.lengths = (const int64_t[]){-1};
    expect(pyrnn_forward(&seq, &out) == PYRNN_BAD_LENGTHS, "length < 0: BAD_LENGTHS");
    seq = ok, seq.B = -1;
    expect(pyrnn_forward(&seq, &out) == PYRNN_BAD_DIMS, "B < 0: BAD_DIMS");
    seq = ok, seq.T = seq.B = huge;
    expect(pyrnn_forward(&seq, &out) == PYRNN_TOO_LARGE, "T = B = max: TOO_LARGE");
    seq = ok, seq.x = NULL;
    expect(pyrnn_forward(&seq, &out) == PYRNN_BAD_POINTER, "x NULL: BAD_POINTER");
    bad.y = NULL;
    expect(pyrnn_forward(&ok, &bad) == PYRNN_BAD_POINTER, "y NULL: BAD_POINTER");
    bad = out, bad.packed = NULL;
    expect(pyrnn_forward(&ok, &bad) == PYRNN_BAD_POINTER, "packed NULL: BAD_POINTER");
    bad = out, bad.packed = backward;
    expect(pyrnn_forward(&ok, &bad) == PYRNN_BAD_PACKED, "packed for backward: BAD_PACKED");
    bad = out, bad.packed = memset(buffer(1024), 0, 1024);
    expect(pyrnn_forward(&ok, &bad) == PYRNN_BAD_PACKED, "packed of zeros: BAD_PACKED");
    int isa;
    expect(pyrnn_open_packed(bad.packed, PYRNN_FORWARD, &layer, &isa) == PYRNN_BAD_PACKED, "no pack");
    expect(pyrnn_open_packed(NULL, PYRNN_FORWARD, &layer, &isa) == PYRNN_BAD_POINTER, "packed NULL");
    expect(pyrnn_open_packed(out.packed, PYRNN_FORWARD, NULL, &isa) == PYRNN_BAD_POINTER, "layer NULL");
    expect(pyrnn_open_packed(out.packed, PYRNN_FORWARD, &layer, NULL) == PYRNN_BAD_POINTER, "isa NULL");
    expect(y == 42 && h == 42 && c == 42, "a refused call leaves its outputs alone");
    expect(pyrnn_forward(&ok, &out) == PYRNN_OK, "pyrnn_forward of one step");
    release();
}

/* A projection has a size below H, of a cell with a second state, and its matrix. */
static void statuses_of_projections(void)
{
    pyrnn_layer good = {.cell = PYRNN_lstm, .dtype = PYRNN_F32, .inputs = 2, .units = 3, .projection = 2},
                layer = good;
    const ptrdiff_t wrong[] = {-1, 3, 4, PTRDIFF_MAX, PTRDIFF_MIN};
    float w[36] = {0}, h[2] = {0}, c[3] = {0};
    size_t bytes = 42;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        layer = good, layer.projection = wrong[i];
        expect(pyrnn_packed_size(&layer, PYRNN_FORWARD, &bytes) == PYRNN_BAD_OPTION,
               "P < 0 or P >= H: BAD_OPTION");
        expect(pyrnn_saved_size(&layer, 1, 1, &bytes) == PYRNN_BAD_OPTION, "P < 0 or P >= H: BAD_OPTION");
    }
    layer = good, layer.cell = PYRNN_gru;
    expect(pyrnn_packed_size(&layer, PYRNN_FORWARD, &bytes) == PYRNN_BAD_OPTION, "GRU with P: BAD_OPTION");
    expect(bytes == 42, "a refused question leaves its answer alone");
    void *packed[2];
    for (int use = PYRNN_FORWARD; use <= PYRNN_BACKWARD; use++) {
        expect(pyrnn_packed_size(&good, use, &bytes) == PYRNN_OK, "pyrnn_packed_size");
        packed[use] = buffer(bytes);
        expect(pyrnn_pack(&good, use, w, w, NULL, NULL, NULL, NULL, packed[use]) == PYRNN_BAD_POINTER,
               "w_hr NULL: BAD_POINTER");
        expect(pyrnn_pack(&good, use, w, w, NULL, NULL, NULL, w, packed[use]) == PYRNN_OK, "pyrnn_pack");
    }
    pyrnn_sequence seq = {.T = 1, .B = 1, .threads = 1, .x = w, .x_step = 2, .x_row = 2};
    size_t work, saved;
    pyrnn_forward_work(packed[PYRNN_FORWARD], &seq, &work), pyrnn_saved_size(&good, 1, 1, &saved);
    expect(saved == (2 + 3 + 5 * 3) * sizeof(float), "h, c, four gates and what is projected are saved");
    pyrnn_outputs out = {packed[PYRNN_FORWARD], h, 2, 2, {h, c}, buffer(saved), buffer(work)};
    expect(pyrnn_forward(&seq, &out) == PYRNN_OK, "pyrnn_forward");
    pyrnn_backward_work(packed[PYRNN_BACKWARD], &seq, &work);
    pyrnn_gradients grads = {
        .packed = packed[PYRNN_BACKWARD], .saved = out.saved, .dy = h, .dy_step = 2, .dy_row = 2};
    float dw_ih[24], dw_hh[24], dw_hr[6];
    grads.dw_ih = dw_ih, grads.dw_hh = dw_hh, grads.work = buffer(work);
    expect(pyrnn_backward(&seq, &grads) == PYRNN_BAD_POINTER, "dw_hr NULL: BAD_POINTER");
    grads.dw_hr = dw_hr;
    expect(pyrnn_backward(&seq, &grads) == PYRNN_OK, "pyrnn_backward");
    release();
}

int main(void)
{
    int isas = pyrnn_isa_count(), start = pyrnn_isa_selected(), ran = 0;
    expect(isas > 0 && pyrnn_isa_name(isas) == NULL, "pyrnn_isa_count");
    for (int isa = 0; isa < isas; isa++) {
        expect(isa >= start || !pyrnn_isa_available(isa), "the best instruction set is selected at start");
        if (!pyrnn_isa_available(isa)) {
            expect(pyrnn_isa_select(isa) == PYRNN_BAD_ISA, "an unavailable instruction set is refused");
            continue;
        }
        expect(pyrnn_isa_select(isa) == PYRNN_OK && pyrnn_isa_selected() == isa, "pyrnn_isa_select");
        printf("pyrnn %s, %s, float32 x %d, threads %d\n", PYRNN_VERSION, pyrnn_isa_name(isa),
               pyrnn_isa_lanes(isa, PYRNN_F32), pyrnn_threads_possible());
        for (size_t k = 0; k < sizeof problems / sizeof *problems; k++)
            for (int threads = 1; threads <= 2; threads++) {
                run(&problems[k], PYRNN_F32, threads);
                run(&problems[k], PYRNN_F64, threads);
            }
        statuses();
        statuses_of_projections();
        ran++;
    }
    expect(ran > 0, "an instruction set is available");
    printf("%d failures\n", failures);
    return failures > 99 ? 99 : failures;
}
