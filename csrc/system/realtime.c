/* Real-time priority for the calling thread, or what keeps it from that. */
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "procconn.h"
#include "system/system.h"

enum {
    /* linux/capability.h */
    CAPABILITY_VERSION = 0x20080522,
    SYS_NICE = 23,
};

/* Not the C library's, as musl has none. What a process forks off is ordinary again. */
static int set_scheduler(int priority)
{
    struct sched_param parameter = {.sched_priority = priority};

    return syscall(SYS_sched_setscheduler, 0, SCHED_FIFO | SCHED_RESET_ON_FORK, &parameter) == 0
               ? 0
               : errno;
}

static bool has_capability(void)
{
    struct {
        uint32_t version;
        int pid;
    } header = {CAPABILITY_VERSION, 0};
    struct {
        uint32_t effective, permitted, inheritable;
    } sets[2] = {{0}};

    return syscall(SYS_capget, &header, sets) == 0 && (sets[0].effective >> SYS_NICE & 1);
}

/*
 * The kernel looks at the priority first, then at the capability, last at the control
 * group. A sandbox decides before the kernel looks and cannot see the priority, which
 * lies in memory; a security module decides after all this, and says EACCES.
 */
int procconn_become_realtime(void)
{
    struct rlimit limit;
    int error = set_scheduler(1);

    if (error == 0)
        return PROCCONN_REALTIME;
    if (error != EPERM || set_scheduler(0) != EINVAL)
        return PROCCONN_IN_SANDBOX;
    if (has_capability() || (getrlimit(RLIMIT_RTPRIO, &limit) == 0 && limit.rlim_cur > 0))
        return PROCCONN_NEEDS_RUNTIME;
    return PROCCONN_NEEDS_CAPABILITY;
}
