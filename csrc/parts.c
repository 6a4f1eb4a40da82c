/* Work without a time loop, shared out over a crew. */
#include "denormals.h"
#include "kernels.h"

typedef struct {
    pyrnn_part_function *kernel;
    const void *job;
    int phases, parts;
    pyrnn_seat *seats;
} task;

static void walk(void *context, int number)
{
    const task *t = context;
    pyrnn_walk me = t->parts > 1 ? walk_with(t->seats, t->parts, number) : walk_alone();
    fp_state before = denormals_off();
    for (int phase = 0; phase < t->phases; phase++)
        EACH_PART (part, &me)
            t->kernel(t->job, phase, part);
    fp_restore(before);
}

void pyrnn_run_parts(pyrnn_part_function *kernel, const void *job, int phases, pyrnn_seat *seats, int parts,
                     double flops)
{
    task t = {kernel, job, phases, parts, seats};
    crew_init(seats, parts);
    pyrnn_crew_run(walk, &t, parts, flops);
}
