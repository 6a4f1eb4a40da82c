/* The rounds of a call, through which all of its threads walk: what its time loop, its gradients and its products are cut into. */
#include "kernels.h"

/* The steps of a round that begins with that one; none after the last. */
static share round_from(const pyrnn_job *job, ptrdiff_t from)
{
    return (share){from, job->T - from < job->steps ? job->T : from + job->steps};
}

/* A block's time loop beside the products of the next block with the input, which the other parts take. */
static void forward_ahead(pyrnn_walk *me, const pyrnn_kernels *kernels, const pyrnn_job *job)
{
    share steps = round_from(job, 0);
    EACH_PART (part, me)
        kernels->project(job, steps, part, part, job->threads);
    do {
        const share next = round_from(job, steps.to);
        EACH_PART (part, me)
            if (part == 0) {
                pyrnn_walk alone = walk_alone();
                kernels_of_job(kernels, job)->forward(job, &alone, part, steps);
            } else
                kernels->project(job, next, part, part - 1, job->threads - 1);
        steps = next;
    } while (steps.from < job->T);
}

/* All steps by units, or rows shared out and some steps of each in a round. */
void pyrnn_forward_rounds(pyrnn_walk *me, const pyrnn_kernels *kernels, const pyrnn_job *job)
{
    if (job->by_units) {
        kernels_of_job(kernels, job)->forward(job, me, me->own, (share){0, job->T});
        return;
    }
    if (job->ahead) {
        forward_ahead(me, kernels, job);
        return;
    }
    share steps = {0, 0};
    do {
        steps = round_from(job, steps.to);
        EACH_PART (part, me) {
            pyrnn_walk alone = walk_alone();
            kernels_of_job(kernels, job)->forward(job, &alone, part, steps);
        }
    } while (steps.to < job->T);
}

/* The first step of the block that ends before step s1: as many steps as job->block pairs allow, and one at
 * least. */
static ptrdiff_t block_start(const pyrnn_job *job, const pyrnn_block *b)
{
    ptrdiff_t s = b->s1, pairs = 0;
    while (s > 0) {
        ptrdiff_t active = job_active(job, s - 1) - b->p0, rows = b->p1 - b->p0;
        pairs += active < rows ? active : rows;
        if (pairs > job->block && s < b->s1)
            break;
        s--;
    }
    return s;
}

/* What follows the time loop of a block, by parts. */
static void products_in_parts(pyrnn_walk *me, const pyrnn_kernels *kernels, const pyrnn_job *job,
                              const pyrnn_block *b)
{
    EACH_PART (part, me)
        kernels->gather(job, b, part, job->threads);
    EACH_PART (part, me)
        kernels->products(job, b, part, job->threads);
}

/* The same in pieces. Part 0, which comes from the next block's time loop, takes the last products first, so that the others,
 * which begin with the first ones, find in their caches what they wrote for the block before. */
static void products_in_pieces(const pyrnn_walk *me, const pyrnn_kernels *kernels, const pyrnn_job *job,
                               const pyrnn_block *b, int part)
{
    enum { GATHERS = 4, FEW = 12, MANY = MOST_PIECES - GATHERS };
    const int pieces = job->threads <= FEW / 2 ? FEW : MANY;
    for (int i = 0; i < GATHERS; i++)
        if (pyrnn_piece_claim(me, i)) {
            kernels->gather(job, b, i, GATHERS);
            pyrnn_piece_done(me, i);
        }
    pyrnn_pieces_await(me, GATHERS);
    for (int i = 0; i < pieces; i++) {
        const int piece =
            part == 0 ? pieces - 1 - i : (i + (part - 1) * pieces / (job->threads - 1)) % pieces;
        if (pyrnn_piece_claim(me, GATHERS + piece))
            kernels->products(job, b, piece, pieces);
    }
}

/* The time loop of a block, and what follows it. */
static void backward_block(pyrnn_walk *me, const pyrnn_kernels *kernels, const pyrnn_job *job,
                           const pyrnn_block *b)
{
    if (job->by_units)
        kernels_of_job(kernels, job)->backward(job, b, me, me->own);
    else
        EACH_PART (part, me) {
            pyrnn_walk alone = walk_alone();
            kernels_of_job(kernels, job)->backward(job, b, &alone, part);
        }
    products_in_parts(me, kernels, job, b);
}

/* The same, its products left to the round of the next block's time loop: the other parts begin with them, and who has run the
 * loop helps with what is left. */
static void backward_ahead(pyrnn_walk *me, const pyrnn_kernels *kernels, const pyrnn_job *job,
                           const pyrnn_block *b, const pyrnn_block *before)
{
    EACH_PART (part, me) {
        if (part == 0) {
            pyrnn_walk alone = walk_alone();
            kernels_of_job(kernels, job)->backward(job, b, &alone, part);
        }
        if (!b->starts)
            products_in_pieces(me, kernels, job, before, part);
    }
    if (b->ends)
        products_in_parts(me, kernels, job, b);
}

/* Strips of rows, and in a strip blocks of steps from the last one back. One block at least, so that sums
 * over nothing come out as zeros. Runs in every thread. */
void pyrnn_backward_rounds(pyrnn_walk *me, const pyrnn_kernels *kernels, const pyrnn_job *job)
{
    pyrnn_block b = {.first = 1}, before = b;
    do {
        b.p1 = b.p0 + job->strip < job->B ? b.p0 + job->strip : job->B;
        b.s1 = b.p0 < b.p1 ? job_length(job, b.p0) : 0;
        b.starts = 1;
        do {
            b.s0 = block_start(job, &b);
            b.ends = b.s0 == 0;
            if (job->ahead)
                backward_ahead(me, kernels, job, &b, &before);
            else
                backward_block(me, kernels, job, &b);
            before = b;
            b.turn = job->ahead && !b.turn;
            b.first = b.starts = 0;
            b.s1 = b.s0;
        } while (!b.ends);
        b.p0 = b.p1;
    } while (b.p0 < job->B);
    EACH_PART (part, me)
        kernels->finish(job, part);
}
