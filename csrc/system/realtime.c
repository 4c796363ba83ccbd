/* Give the calling thread real-time priority, or find out why it cannot have it. */
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

/* Call the kernel, as musl's sched_setscheduler() always fails. Children get ordinary priority. */
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
 * The kernel checks the priority first, then the capability, and the cgroup last. A seccomp filter
 * decides before these checks and cannot see the priority, which is in memory; a security module
 * decides after them, and returns EACCES.
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
