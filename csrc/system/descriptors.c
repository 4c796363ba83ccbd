/*
 * A table of descriptors for one thread. What it opens is in no child that another thread
 * forks, and is not short when the program has used up its own. Nothing of the program's
 * stays open in it, or a pipe would not end when the program closes it.
 */
#include <fcntl.h>
#include <limits.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "system/system.h"

enum {
    STANDARD = 3, /* input, output, error: their numbers are to be taken */

    /* close_range(2), Linux 5.9; the same number on all architectures */
    CALL = 436,
    UNSHARE = 2,

    SPACE = 512, /* for all memories that are held, and what is open beside them */
};

static bool is_kept(const int *kept, size_t count, int fd)
{
    for (size_t i = 0; i < count; i++)
        if (kept[i] == fd)
            return true;
    return false;
}

/* The least of those that are kept from there on, or INT_MAX. */
static int next_kept(const int *kept, size_t count, int from)
{
    int least = INT_MAX;

    for (size_t i = 0; i < count; i++)
        if (kept[i] >= from && kept[i] < least)
            least = kept[i];
    return least;
}

/* Makes the table as large as it will be. While several threads share one, its growth lasts
 * until each processor has been through the scheduler: often 10 ms. */
static void grow(int fd)
{
    int last = -1;

    for (int size = SPACE; last < 0 && size > 0; size /= 2) /* the limit may be lower */
        last = fcntl(fd, F_DUPFD_CLOEXEC, size - 1);
    if (last >= 0)
        close(last);
}

#ifdef __SANITIZE_THREAD__ /* which takes equal numbers in two tables for one descriptor */
enum { CAN_UNSHARE = false };
#else
enum { CAN_UNSHARE = true };
#endif

/* The first range, above all, is empty but for the unsharing. */
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
