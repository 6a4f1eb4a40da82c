/* A guard against allocation: between forbid() and allowed() every call of the allocator is counted. The program's own
 * malloc stands before the C library's, for all libraries in the process; this needs glibc's names of its functions,
 * and no sanitizer that does the same. */
#if defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SANITIZED 1
#endif

static volatile int forbidden, allocations;

static void forbid(void) { allocations = 0, forbidden = 1; }

static int allowed(void)
{
    forbidden = 0;
    return allocations;
}

#if defined __GLIBC__ && !defined SANITIZED
#include <errno.h>
enum { GUARDED = 1 };

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *p);

static void notice(void) { allocations += forbidden; }

void *malloc(size_t size) { return notice(), __libc_malloc(size); }
void *calloc(size_t n, size_t size) { return notice(), __libc_calloc(n, size); }
void *realloc(void *p, size_t size) { return notice(), __libc_realloc(p, size); }
void *aligned_alloc(size_t alignment, size_t size) { return notice(), __libc_memalign(alignment, size); }
void free(void *p) { notice(), __libc_free(p); }

int posix_memalign(void **p, size_t alignment, size_t size)
{
    notice();
    void *found = __libc_memalign(alignment, size);
    if (!found)
        return ENOMEM;
    *p = found;
    return 0;
}
#else
enum { GUARDED = 0 };
#endif
