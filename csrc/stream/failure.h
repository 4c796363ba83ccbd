/* A failure of the receiver, kept until the consumer returns it to its caller. */
#ifndef PROCCONN_FAILURE_H
#define PROCCONN_FAILURE_H

#include <errno.h>
#include <stdbool.h>

struct failure {
    int status;    /* the negative errno of a system call; stays, as it would fail again */
    bool is_stale; /* the liveness check failed: the subscription can be renewed */
};

static inline void failure_note(struct failure *failure, int status)
{
    if (status == -ENOTCONN)
        failure->is_stale = true;
    else
        failure->status = status;
}

/* The subscription has ended, or has been renewed. */
static inline void failure_forget_stale(struct failure *failure)
{
    failure->is_stale = false;
}

static inline bool failure_is_noted(const struct failure *failure)
{
    return failure->is_stale || failure->status != 0;
}

static inline int failure_return(struct failure *failure)
{
    if (!failure->is_stale)
        return failure->status;
    failure->is_stale = false;
    return -ENOTCONN;
}

#endif
