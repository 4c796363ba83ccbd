/*
 * A separate descriptor table for the calling thread. Children that other threads fork do not
 * inherit its descriptors, and it has free slots even if the program has used up its own table. The
 * program's descriptors are closed in it, or a pipe would not end when the program closes it.
 */
#include <fcntl.h>
#include <limits.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "system/system.h"

enum {
    STANDARD = 3, /* input, output and error: these numbers must stay in use */

    /* close_range(2), Linux 5.9; the same number on all architectures */
    CALL = 436,
    UNSHARE = 2,

    SPACE = 512, /* for all held memories and the other descriptors */
};

static bool is_kept(const int *kept, size_t count, int fd)
{
    for (size_t i = 0; i < count; i++)
        if (kept[i] == fd)
            return true;
    return false;
}

/* Return the lowest kept descriptor from `from` on, or INT_MAX. */
static int next_kept(const int *kept, size_t count, int from)
{
    int least = INT_MAX;

    for (size_t i = 0; i < count; i++)
        if (kept[i] >= from && kept[i] < least)
            least = kept[i];
    return least;
}

/* Grow the table to its final size. While threads share a table, its growth waits for an RCU grace
 * period: often 10 ms. */
static void grow(int fd)
{
    int last = -1;

    for (int size = SPACE; last < 0 && size > 0; size /= 2) /* the limit may be lower */
        last = fcntl(fd, F_DUPFD_CLOEXEC, size - 1);
    if (last >= 0)
        close(last);
}

#ifdef __SANITIZE_THREAD__ /* which takes equal numbers in two tables as one descriptor */
enum { CAN_UNSHARE = false };
#else
enum { CAN_UNSHARE = true };
#endif

/* The first close_range(2) only unshares: no descriptor is in its range. */
bool procconn_unshare_descriptors(const int *kept, size_t count, int filler)
{
    int next;

    if (!CAN_UNSHARE || syscall(CALL, UINT_MAX, UINT_MAX, UNSHARE) != 0)
        return false;
    for (int from = 0; from != INT_MAX; from = next == INT_MAX ? INT_MAX : next + 1) {
        next = next_kept(kept, count, from);
        if (next > from)
            syscall(CALL, from, next == INT_MAX ? UINT_MAX : (unsigned)next - 1, 0);
    }
    for (int fd = 0; fd < STANDARD; fd++)
        if (!is_kept(kept, count, fd))
            dup3(filler, fd, O_CLOEXEC);
    grow(filler);
    return true;
}
