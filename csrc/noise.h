/* What a general cell's driver does between steps: zoneout, and dropout of the state that products read.
 *
 * Zoneout keeps a unit's state from before the step with probability p: at random in training, and by its expectation in
 * inference (Krueger et al. 2017, arXiv:1606.01305). Its random numbers are a function of the seed, the state, the time, the
 * row and the unit, so that the way back knows them without storing any, whatever the batch was cut into.
 *
 * Dropout multiplies h with a mask of each row, the same in every step, before products read it; what a cell does with h beside
 * them sees all of it (Gal & Ghahramani 2016, arXiv:1512.05287). */

/* A good 32-bit mixer: Wellons 2018, "Prospecting for hash functions", lowbias32. In lanes that are wider, the upper halves
 * stay zero. */
#define MIX(x)                                                                                               \
    do {                                                                                                     \
        x ^= x >> 16;                                                                                        \
        x = (x * 0x7feb352du) & 0xffffffffu;                                                                 \
        x ^= x >> 15;                                                                                        \
        x = (x * 0x846ca68bu) & 0xffffffffu;                                                                 \
        x ^= x >> 16;                                                                                        \
    } while (0)

/* What the random numbers of a row's step start from. */
INLINE uint32_t noise_key(uint64_t seed, ptrdiff_t state, ptrdiff_t t, ptrdiff_t row)
{
    uint32_t key = (uint32_t)(seed >> 32) + (uint32_t)state;
    MIX(key);
    key += (uint32_t)seed;
    MIX(key);
    key += (uint32_t)t;
    MIX(key);
    key += (uint32_t)row;
    MIX(key);
    return key;
}

/* Which of the units j, j + 1, ... keep their state. */
INLINE VI zoned(float p, uint32_t key, ptrdiff_t j)
{
    VU x;
    for (int i = 0; i < L; i++)
        x[i] = (real_uint)i;
    x = (x + (real_uint)j) & 0xffffffffu;
    x = (x * 0x9e3779b9u) & 0xffffffffu; /* 2^32 over the golden ratio: neighbours lie far apart */
    x = (x + (real_uint)key) & 0xffffffffu;
    MIX(x);
    return (VI)(x >> 8) < (real_int)((double)p * (1 << 24));
}

INLINE V choose(VI mask, V yes, V no) { return (V)((mask & (VI)yes) | (~mask & (VI)no)); }

/* Whether a step's state q is subject to zoneout. */
INLINE int zones(const pyrnn_job *job, int q) { return job->layer.zoneout[q] > 0; }

/* Zoneout of a panel of state q, from what it was `before` the step. */
INLINE V zone_state(const pyrnn_job *job, int q, uint32_t key, ptrdiff_t j, V before, V s)
{
    float p = job->layer.zoneout[q];
    return job->saved ? choose(zoned(p, key, j), before, s) : vfma(vset((real)p), before - s, s);
}

/* The part of the gradient of state q that zoneout leads past the cell; the other stays in ds. */
INLINE V zone_gradient(const pyrnn_job *job, int q, uint32_t key, ptrdiff_t j, V *ds)
{
    V past = vset(0);
    if (zones(job, q)) {
        VI keeps = zoned(job->layer.zoneout[q], key, j);
        past = choose(keeps, *ds, past);
        *ds = choose(keeps, vset(0), *ds);
    }
    return past;
}
