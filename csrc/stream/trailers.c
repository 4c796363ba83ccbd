#include "stream/trailers.h"

#include "programs/programs.h"
#include "stream/stream.h"
#include "usage/usage.h"
#include "wire/decode.h"

enum {
    TRAILERS_SHARE = 4, /* the queue's size in drains, as messages with trailers are larger */

    /* The parent of an EXIT: 0 if the task was reaped already, and before Linux 4.18. */
    EXIT_PARENT_WORD = 4,
};

int stream_open_programs(struct procconn_stream *stream, size_t drain_size)
{
    const struct procconn_settings *settings = &stream->settings;
    int status = 0;

    if (settings->programs)
        status = procconn_programs_start(stream->view.receive_buffer, settings->coalesce_ns,
                                         &stream->trailers.programs);
    if (status < 0)
        return status;
    stream->view.realtime = status;
    if (!settings->programs && !settings->usage)
        return buffer_resize(&stream->queue, drain_size);
    status = buffer_resize(&stream->staging, drain_size);
    return status < 0 ? status : buffer_resize(&stream->queue, TRAILERS_SHARE * drain_size);
}

void stream_open_usage(struct procconn_stream *stream)
{
    if (stream->settings.usage && stream->trailers.usage == NULL)
        stream->trailers.usage =
            procconn_usage_open((int)stream->view.receive_buffer, &stream->view.usage_error);
}

uint64_t trailers_lost_usage(const struct trailers *trailers)
{
    return trailers->usage != NULL ? procconn_usage_lost(trailers->usage) : trailers->lost_usage;
}

/* Pointers become NULL before the objects are freed: a forked child must not free them again. */
void stream_close_trailers(struct procconn_stream *stream)
{
    struct trailers *trailers = &stream->trailers;
    struct procconn_programs *programs = trailers->programs;
    struct procconn_usage *usage = trailers->usage;

    trailers->lost_usage = trailers_lost_usage(trailers);
    trailers->programs = NULL;
    trailers->usage = NULL;
    if (programs != NULL)
        procconn_programs_stop(programs);
    procconn_usage_close(usage);
}

/* Append a message with its trailer, which begins where the union of today's kernels ends. */
static void append(struct buffer *queue, const uint8_t *message, size_t size,
                   const uint8_t *trailer, size_t trailer_size)
{
    uint8_t *copy = buffer_space(queue);
    uint16_t data_size;

    memcpy(copy, message, size);
    if (trailer_size > 0) {
        memset(copy + size, 0, MESSAGE_SIZE - size);
        memcpy(copy + MESSAGE_SIZE, trailer, trailer_size);
        size = MESSAGE_SIZE + trailer_size;
        data_size = (uint16_t)(size - EVENT_AT);
        procconn_store_u32(copy + NLMSG_LEN_AT, (uint32_t)size);
        procconn_store_u16(copy + CN_MSG_LEN_AT, data_size);
        memset(copy + size, 0, -size % NLMSG_ALIGNMENT);
    }
    buffer_append(queue, size + -size % NLMSG_ALIGNMENT);
}

static size_t find_usage(struct trailers *trailers, const struct procconn_event *exit,
                         uint8_t trailer[USAGE_SIZE])
{
    struct procconn_task_exit task = {
        .pid = procconn_event_word(exit, 0),
        .tgid = procconn_event_word(exit, 1),
        .exit_code = procconn_event_word(exit, 2),
        .has_parent = procconn_event_word(exit, EXIT_PARENT_WORD) != 0,
        .timestamp_ns = exit->timestamp_ns,
    };
    struct procconn_task_record record;

    if (!procconn_usage_take(trailers->usage, &task, &record))
        return 0;
    procconn_write_usage(&record, trailer);
    return USAGE_SIZE;
}

/* Receive the records and changes that the trailers of this drain's events depend on. */
static void prepare(struct procconn_stream *stream)
{
    struct trailers *trailers = &stream->trailers;

    if (trailers->usage != NULL && trailers->met_exit) {
        procconn_usage_drain(trailers->usage, &stream->settings.filter, trailers->misses_exits);
        trailers->met_exit = trailers->misses_exits = false;
    }
    if (trailers->programs != NULL) {
        procconn_programs_follow(trailers->programs);
        stream->view.programs_error = procconn_programs_error(trailers->programs);
    }
}

int64_t stream_attach_trailers(struct procconn_stream *stream, bool has_emptied)
{
    struct trailers *trailers = &stream->trailers;
    struct buffer *staging = &stream->staging;
    struct procconn_walk walk = {
        .buffer = staging->bytes, .size = staging->end, .offset = staging->start};
    int64_t due_ns = 0, synced_until_ns = stream->drain.synced_until_ns;
    uint8_t usage[USAGE_SIZE];
    struct procconn_event event;
    enum procconn_status status;
    const uint8_t *trailer;
    size_t size;

    prepare(stream);
    while (stream_has_space(stream) && (status = procconn_next(&walk, &event)) != PROCCONN_END) {
        size = 0;
        trailer = usage;
        if (status == PROCCONN_EVENT && event.what == PROCCONN_EXEC && trailers->programs != NULL) {
            due_ns = procconn_programs_take(trailers->programs, staging->bytes + walk.at,
                                            walk.size - walk.at, synced_until_ns, &trailer, &size);
            if (due_ns != 0)
                break;
        } else if (status == PROCCONN_EVENT && event.what == PROCCONN_EXIT &&
                   trailers->usage != NULL) {
            size = find_usage(trailers, &event, usage);
        }
        append(&stream->queue, staging->bytes + walk.at, walk.offset - walk.at, trailer, size);
        buffer_consume(staging, walk.offset - walk.at);
    }
    if (buffer_length(staging) == 0 && trailers->usage != NULL && has_emptied)
        procconn_usage_compact(trailers->usage, synced_until_ns);
    return due_ns;
}
