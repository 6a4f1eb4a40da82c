/* What the test programs share: counted failures, and buffers that show what is not written. */
#include <pyrnn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

static void expect(int ok, const char *what)
{
    if (!ok) {
        printf("FAILED: %s\n", what);
        failures++;
    }
}

/* Every buffer starts at a multiple of 64 bytes and ends where its numbers end, so that a sanitizer sees one
 * step too far. They live until release(). */
static void *buffers[1000];
static int n_buffers;

static void *buffer(size_t bytes)
{
    void *p = NULL;
    if (n_buffers == 1000 || posix_memalign(&p, 64, bytes ? bytes : 1))
        abort();
    memset(p, 0xff, bytes); /* NaN: what is not written is seen */
    return buffers[n_buffers++] = p;
}

static void release(void)
{
    while (n_buffers)
        free(buffers[--n_buffers]);
}
