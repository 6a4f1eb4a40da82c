/* What a cell tells the driver about itself; its formulas are two functions beside it (cells/).
 *
 *     point(phase, ax, ah, s, saved)
 *         ax     in       input part of the G gates, in slot order
 *         ah     in       recurrent part of the phase's gates
 *         s      in, out  states
 *         saved  in, out  K values; those of earlier phases are there
 *     back(phase, acc, saved, s0, s1, ds, da)
 *         acc    in       in all phases but the last, the gradient of what the next phase's product read
 *         saved  in       K values
 *         s0 s1  in       states before and after the step
 *         ds     in, out  gradient of the states after; then the part of it that reaches the states before
 *                         past the products
 *         da     out      gradients of the pre-activations, one a slot
 *
 * A step has one phase for each product that must wait for a whole row: one for most cells. Phases run 0, 1,
 * ... forward and in the opposite order back.
 *
 * Slots number the gradients of pre-activations: the input's products read the slots 0..G-1, phase p's
 * recurrent product reads first..first+count-1, so a gradient that both share is stored once. */
#define NOINLINE __attribute__((noinline)) /* code that all cells share, outside the inner loops */

enum { MAX_GATES = 4, MAX_SLOTS = 4, MAX_STATES = PYRNN_MAX_STATES, MAX_SAVES = 4, MAX_PHASES = 2 };

typedef struct {
    const char *name;
    int gates, slots, states, saves, phases;
    struct {
        int first, count; /* slots */
        int source; /* phases > 0: the saved value that the product reads; phase 0 reads the state h */
    } phase[MAX_PHASES];
    /* slot -> block of H rows in w_ih and in w_hh (PyTorch's order) */
    int block_x[MAX_SLOTS], block_h[MAX_SLOTS];
} cell;

typedef void point_function(int phase, const V *ax, const V *ah, V *s, V *saved);
typedef void back_function(int phase, V acc, const V *saved, const V *s0, const V *s1, V *ds, V *da);
