/* What a cell tells the driver about itself; its formulas are two functions beside it (cells/).
 *
 *     point(phase, ax, ah, s, saved)             ax: the input part of the G gates, in slot order; ah: the recurrent part
 *                                                of the phase's gates; s: states, in and out; saved: in (of earlier
 *                                                phases) and out
 *     back(phase, acc, saved, s0, s1, ds, da)    s0, s1: states before and after; ds: gradient of the states after, in, and
 *                                                the part that reaches the states before past the products, out; da:
 *                                                gradients of the pre-activations, one a slot; acc: in an earlier phase,
 *                                                the gradient of what the next phase's product read
 *
 * A step has one phase for each product that must wait for a whole row: one for most cells. Phases run 0, 1, ... forward and
 * in the opposite order back. Slots number the gradients of pre-activations: the input's products read the slots 0..G-1,
 * phase p's recurrent product reads first..first+count-1, so a gradient that both share is stored once. */
#define NOINLINE __attribute__((noinline)) /* code that all cells share, outside the inner loops */

enum { MAX_GATES = 4, MAX_SLOTS = 4, MAX_STATES = PYRNN_MAX_STATES, MAX_SAVES = 4, MAX_PHASES = 2 };

typedef struct {
    const char *name;
    int gates, slots, states, saves, phases;
    struct {
        int first, count; /* slots */
        int source;       /* phases > 0: the saved value that the product reads; phase 0 reads the state h */
    } phase[MAX_PHASES];
    int block_x[MAX_SLOTS], block_h[MAX_SLOTS]; /* slot -> block of H rows in w_ih and w_hh (PyTorch's order) */
} cell;

typedef void point_function(int phase, const V *ax, const V *ah, V *s, V *saved);
typedef void back_function(int phase, V acc, const V *saved, const V *s0, const V *s1, V *ds, V *da);
