/* Layers of a stack side by side: the results of one call after the other, bit for bit, however many there are of layers
 * and of threads; and what is refused. Made for ThreadSanitizer too: what layers exchange is plain memory, whose races it
 * reports.
 *
 * usage: pyrnn_c_chain [REPETITIONS]
 *
 * Prints what was run and exits with the number of failures. */
#include "check.h"

enum { LAYERS = 9, T = 70, B = 3, H = 20 }; /* one layer more than run at once */

typedef struct {
    int n;
    int64_t lengths[B];
    pyrnn_cell_info info;
    pyrnn_sequence seqs[LAYERS];
    pyrnn_outputs outs[LAYERS];
    pyrnn_gradients grads[LAYERS]; /* of the top layer first, with its sequence in `back` */
    pyrnn_sequence back[LAYERS];
    void *forward[LAYERS], *backward[LAYERS]; /* packed */
} stack;

static void *packed_of(const pyrnn_layer *layer, int use, const float *w, const float *bias)
{
    size_t bytes;
    expect(!pyrnn_packed_size(layer, use, &bytes), "pyrnn_packed_size");
    void *packed = buffer(bytes);
    expect(!pyrnn_pack(layer, use, w, w, bias, NULL, w, NULL, packed), "pyrnn_pack");
    return packed;
}

static float *numbers(ptrdiff_t n, double scale)
{
    static unsigned seed = 1;
    float *p = buffer((size_t)n * sizeof(float));
    for (ptrdiff_t k = 0; k < n; k++) {
        seed = seed * 1664525u + 1013904223u;
        p[k] = (float)(((double)(seed >> 8) / (1 << 23) - 1) * scale);
    }
    return p;
}

static float *room(ptrdiff_t n) { return buffer((size_t)n * sizeof(float)); }

/* A layer above what wrote x, with results of its own. */
static void add_layer(stack *s, int cell, const void *x, const void *dy)
{
    const int i = s->n++;
    const pyrnn_layer layer = {cell, PYRNN_F32, H, H};
    const ptrdiff_t gh = s->info.gates * H;
    size_t bytes;
    const float *w = numbers(gh * H, 0.3), *bias = numbers(gh, 0.5);
    s->forward[i] = packed_of(&layer, PYRNN_FORWARD, w, bias);
    s->backward[i] = packed_of(&layer, PYRNN_BACKWARD, w, bias);
    s->seqs[i] = (pyrnn_sequence){.T = T, .B = B, .threads = 1, .x = x, .x_step = B * H, .x_row = H};
    s->seqs[i].lengths = s->lengths;
    s->outs[i] = (pyrnn_outputs){.packed = s->forward[i], .y = room(T * B * H), .y_step = B * H, .y_row = H};
    expect(!pyrnn_saved_size(&layer, T, B, &bytes), "pyrnn_saved_size");
    s->outs[i].saved = buffer(bytes);
    expect(!pyrnn_forward_work(s->forward[i], &s->seqs[i], &bytes), "pyrnn_forward_work");
    s->outs[i].work = buffer(bytes);
    pyrnn_gradients *grads = &s->grads[LAYERS - 1 - i];
    *grads = (pyrnn_gradients){.packed = s->backward[i], .saved = s->outs[i].saved, .dy = dy};
    grads->dx = room(T * B * H);
    grads->dx_step = grads->dy_step = B * H, grads->dx_row = grads->dy_row = H;
    grads->dw_ih = room(gh * H), grads->dw_hh = room(gh * H), grads->db_ih = room(gh),
    grads->db_hh = room(gh);
    expect(!pyrnn_backward_work(s->backward[i], &s->seqs[i], &bytes), "pyrnn_backward_work");
    grads->work = buffer(bytes);
    for (int q = 0; q < s->info.states; q++) {
        s->outs[i].state[q] = room(B * H);
        s->seqs[i].state0[q] = numbers(B * H, 1);
        grads->dstate0[q] = room(B * H);
    }
    s->back[LAYERS - 1 - i] = s->seqs[i];
}

static void make(stack *s, int cell)
{
    *s = (stack){.lengths = {T - 1, 0, T}};
    expect(!pyrnn_describe(cell, &s->info), "pyrnn_describe");
    for (int i = 0; i < LAYERS; i++)
        add_layer(s, cell, i ? s->outs[i - 1].y : numbers(T * B * H, 1), NULL);
    s->grads[0].dy = numbers(T * B * H, 1);
    for (int i = 1; i < LAYERS; i++)
        s->grads[i].dy = s->grads[i - 1].dx;
}

/* All that the stack writes, one after the other; made 0xff when it has been read. */
static char *results(stack *s, size_t *size)
{
    size_t gh = (size_t)s->info.gates * H, y = sizeof(float) * T * B * H, row = sizeof(float) * B * H;
    size_t w = sizeof(float) * gh * H, at = 0;
    *size = LAYERS * (2 * y + 2 * (size_t)s->info.states * row + 2 * w + 2 * sizeof(float) * gh);
    char *all = buffer(*size);
    for (int i = 0; i < LAYERS; i++) {
        pyrnn_gradients *g = &s->grads[i];
        const struct {
            void *p;
            size_t bytes;
        } parts[] = {{s->outs[i].y, y},
                     {g->dx, y},
                     {g->dw_ih, w},
                     {g->dw_hh, w},
                     {g->db_ih, gh * sizeof(float)},
                     {g->db_hh, gh * sizeof(float)},
                     {s->outs[i].state[0], row},
                     {g->dstate0[0], row},
                     {s->outs[i].state[1], row},
                     {g->dstate0[1], row}};
        for (size_t k = 0; k < 6 + 2 * (size_t)s->info.states; k++) {
            memcpy(all + at, parts[k].p, parts[k].bytes);
            memset(parts[k].p, 0xff, parts[k].bytes);
            at += parts[k].bytes;
        }
    }
    expect(at == *size, "size of the results");
    return all;
}

static void same_results(int cell, int repetitions)
{
    stack s;
    size_t size;
    make(&s, cell);
    for (int i = 0; i < LAYERS; i++)
        expect(!pyrnn_forward(&s.seqs[i], &s.outs[i]), "pyrnn_forward");
    for (int i = 0; i < LAYERS; i++)
        expect(!pyrnn_backward(&s.back[i], &s.grads[i]), "pyrnn_backward");
    const char *expected = results(&s, &size);
    for (int r = 0; r < repetitions; r++)
        for (int at_once = 1; at_once <= 4; at_once++) {
            expect(!pyrnn_forward_chain(LAYERS, at_once, s.seqs, s.outs), "pyrnn_forward_chain");
            expect(!pyrnn_backward_chain(LAYERS, at_once, s.back, s.grads), "pyrnn_backward_chain");
            expect(!memcmp(results(&s, &size), expected, size), "a chain has the bits of its layers");
            free(buffers[--n_buffers]);
        }
    printf("%s: %d layers\n", s.info.name, LAYERS);
    release();
}

#define REFUSED(field, value, way, reason)                                                                   \
    do {                                                                                                     \
        stack other = s;                                                                                     \
        other.field = value;                                                                                 \
        expect(way == reason, #field " = " #value);                                                          \
    } while (0)
#define FORWARD pyrnn_forward_chain(2, 2, other.seqs, other.outs)
#define BACKWARD pyrnn_backward_chain(2, 2, other.back, other.grads)

static void refused(void)
{
    stack s;
    make(&s, PYRNN_gru);
    REFUSED(seqs[0].reverse, 1, FORWARD, PYRNN_BAD_DIMS);
    REFUSED(seqs[1].T, T - 1, FORWARD, PYRNN_BAD_DIMS);
    REFUSED(seqs[1].B, B - 1, FORWARD, PYRNN_BAD_DIMS);
    REFUSED(seqs[1].x_step, H, FORWARD, PYRNN_BAD_DIMS);
    REFUSED(seqs[1].threads, 2, FORWARD, PYRNN_BAD_THREADS);
    REFUSED(seqs[1].lengths, NULL, FORWARD, PYRNN_BAD_LENGTHS);
    REFUSED(seqs[1].x, s.seqs[0].x, FORWARD, PYRNN_BAD_POINTER);
    REFUSED(outs[1].state[0], NULL, FORWARD, PYRNN_BAD_POINTER);
    REFUSED(outs[1].packed, s.backward[1], FORWARD, PYRNN_BAD_PACKED);
    REFUSED(grads[1].dy, s.grads[0].dy, BACKWARD, PYRNN_BAD_POINTER);
    REFUSED(grads[0].dx, NULL, BACKWARD, PYRNN_BAD_POINTER);
    REFUSED(grads[1].dy_row, 0, BACKWARD, PYRNN_BAD_DIMS);
    REFUSED(back[1].reverse, 1, BACKWARD, PYRNN_BAD_DIMS);
    expect(pyrnn_forward_chain(-1, 1, s.seqs, s.outs) == PYRNN_BAD_DIMS, "fewer layers than none");
    expect(pyrnn_forward_chain(2, 0, s.seqs, s.outs) == PYRNN_BAD_THREADS, "no threads");
    expect(pyrnn_backward_chain(2, 1, s.back, NULL) == PYRNN_BAD_POINTER, "no gradients");
    expect(pyrnn_forward_chain(0, 1, NULL, NULL) == PYRNN_OK, "no layers");
    release();
}

int main(int argc, char **argv)
{
    for (int cell = 0; cell < PYRNN_CELLS; cell++)
        same_results(cell, argc > 1 ? atoi(argv[1]) : 20);
    refused();
    printf("%d failures\n", failures);
    return failures > 99 ? 99 : failures;
}
