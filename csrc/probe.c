/* Whether a silent subscription still lives: an event of our own must come. */
#define _GNU_SOURCE /* syscall */
#include <arpa/inet.h>
#include <errno.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stream.h"

/* Lets the COMM events of a task pass, before the filter decides. Words are loaded as
 * big-endian. */
static int attach_probing(int fd, const struct procconn_filter *filter, uint32_t task)
{
    struct instruction code[6 + sizeof filter->program / sizeof(struct instruction)] = {
        {LOAD_WORD, 0, 0, EVENT_WHAT_AT}, {JUMP_IF_EQUAL, 0, 3, htonl(PROCCONN_COMM)},
        {LOAD_WORD, 0, 0, EVENT_DATA_AT}, {JUMP_IF_EQUAL, 0, 1, htonl(task)},
        {RETURN, 0, 0, UINT32_MAX},
    };

    memcpy(code + 5, filter->program, filter->size);
    return procconn_attach_instructions(fd, code, 5 * sizeof code[0] + filter->size);
}

int procconn_rename_thread(void)
{
    char name[COMM_NAME_SIZE];

    if (prctl(PR_GET_NAME, name) != 0 || prctl(PR_SET_NAME, name) != 0)
        return -errno;
    return 0;
}

/* Under the lock. */
static int probe(struct procconn_stream *stream)
{
    const struct procconn_filter *filter = &stream->settings.wanted.filter;
    int64_t heard_ns = stream->heard_ns;
    int renamed, status;

    if (!stream->subscribed || (atomic_load(&stream->state) & CHANGING) != 0) {
        stream->heard_ns = procconn_now_ns();
        return 0;
    }
    status = attach_probing(stream->socket, filter, (uint32_t)syscall(SYS_gettid));
    if (status < 0)
        return status;
    renamed = procconn_rename_thread(); /* its event is queued when this returns */
    status = procconn_attach_filter(stream->socket, filter);
    stream->screening = true;
    if (status == 0)
        status = procconn_drain(stream, SIZE_MAX, false);
    if (status < 0 || stream->heard_ns != heard_ns)
        return status;
    stream->heard_ns = procconn_now_ns(); /* to be probed again after that long */
    /* A sandbox may refuse it; a full stage has no room for it. */
    return renamed < 0 || stream->emptied_ns == 0 ? 0 : -ENOTCONN;
}

int procconn_probe(struct procconn_stream *stream)
{
    int status;

    pthread_mutex_lock(&stream->lock);
    status = probe(stream);
    pthread_mutex_unlock(&stream->lock);
    return status;
}
