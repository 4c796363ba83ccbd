/*
 * Tails: what the library knows of an event beyond what the kernel sent, put behind the
 * event's own message. Messages go from the stage to the queue in their order, so one
 * that waits for its program holds those behind it back.
 */
#include "stream/stream.h"

enum {
    TAILS_SHARE = 4, /* how much more room messages with tails have */

    /* Of an EXIT: 0 if the task was reaped already, and before Linux 4.18. */
    EXIT_PARENT_WORD = 4,
};

int procconn_open_attachments(struct procconn_stream *stream, size_t drain_size)
{
    const struct procconn_settings *settings = &stream->settings;
    uint32_t receive_buffer = stream->window.receive_buffer;
    int error = 0;

    if (settings->programs)
        error = procconn_programs_start(receive_buffer, settings->gather_ns, &stream->programs);
    if (error < 0)
        return error;
    stream->window.realtime = error;
    if (!settings->programs && !settings->usage)
        return procconn_resize(&stream->queue, drain_size);
    error = procconn_resize(&stream->stage, drain_size);
    return error < 0 ? error : procconn_resize(&stream->queue, TAILS_SHARE * drain_size);
}

void procconn_open_usage(struct procconn_stream *stream)
{
    if (stream->settings.usage && stream->usage == NULL)
        stream->usage =
            procconn_usage_open((int)stream->window.receive_buffer, &stream->window.usage_error);
}

/* Forgotten before they are freed: a child that is forked meanwhile must not free what
 * was freed. */
void procconn_close_attachments(struct procconn_stream *stream)
{
    struct procconn_programs *programs = stream->programs;
    struct procconn_usage *usage = stream->usage;

    if (usage != NULL)
        stream->lost_usage = procconn_usage_lost(usage);
    stream->programs = NULL;
    stream->usage = NULL;
    if (programs != NULL)
        procconn_programs_stop(programs);
    procconn_usage_close(usage);
}

/* Copies a message; its tail begins where the union of today's kernels ends. */
static void copy(struct messages *queue, const uint8_t *message, size_t size, const uint8_t *tail,
                 size_t tail_size)
{
    uint8_t *place = queue->bytes + queue->end;
    uint16_t data_size;

    memcpy(place, message, size);
    if (tail_size > 0) {
        memset(place + size, 0, MESSAGE_SIZE - size);
        memcpy(place + MESSAGE_SIZE, tail, tail_size);
        size = MESSAGE_SIZE + tail_size;
        data_size = (uint16_t)(size - EVENT_AT);
        procconn_store_u32(place + NLMSG_LEN_AT, (uint32_t)size);
        procconn_store_u16(place + CN_MSG_LEN_AT, data_size);
        memset(place + size, 0, -size % NLMSG_ALIGNMENT);
    }
    queue->end += size + -size % NLMSG_ALIGNMENT;
}

static size_t usage_tail(struct procconn_stream *stream, const struct procconn_event *exit,
                         uint8_t tail[USAGE_SIZE])
{
    struct procconn_task_exit task = {
        .pid = procconn_event_word(exit, 0),
        .tgid = procconn_event_word(exit, 1),
        .exit_code = procconn_event_word(exit, 2),
        .has_parent = procconn_event_word(exit, EXIT_PARENT_WORD) != 0,
        .timestamp_ns = exit->timestamp_ns,
    };
    struct procconn_task_record record;

    if (!procconn_usage_take(stream->usage, &task, &record))
        return 0;
    procconn_write_usage(&record, tail);
    return USAGE_SIZE;
}

int64_t procconn_finish(struct procconn_stream *stream, bool has_emptied)
{
    struct messages *stage = &stream->stage, *queue = &stream->queue;
    struct procconn_walk walk = {
        .buffer = stage->bytes, .size = stage->end, .offset = stage->start};
    uint8_t usage[USAGE_SIZE];
    struct procconn_event event;
    enum procconn_status status;
    const uint8_t *tail;
    int64_t due_ns = 0;
    size_t size;

    if (stream->usage != NULL && stream->met_exit) {
        procconn_usage_drain(stream->usage, &stream->settings.filter, stream->misses_exits);
        stream->met_exit = stream->misses_exits = false;
    }
    if (stream->programs != NULL) {
        procconn_programs_follow(stream->programs);
        stream->window.programs_error = procconn_programs_error(stream->programs);
    }
    while (procconn_has_room(stream) && (status = procconn_next(&walk, &event)) != PROCCONN_END) {
        size = 0;
        tail = usage;
        if (status == PROCCONN_EVENT && event.what == PROCCONN_EXEC && stream->programs != NULL) {
            due_ns =
                procconn_programs_take(stream->programs, stage->bytes + walk.at,
                                       stage->end - walk.at, stream->synced_until_ns, &tail, &size);
            if (due_ns != 0)
                break;
        } else if (status == PROCCONN_EVENT && event.what == PROCCONN_EXIT &&
                   stream->usage != NULL) {
            size = usage_tail(stream, &event, usage);
        }
        copy(queue, stage->bytes + walk.at, walk.offset - walk.at, tail, size);
        stage->start = walk.offset;
    }
    if (stage->start == stage->end) {
        procconn_begin_anew(stage);
        if (stream->usage != NULL && has_emptied)
            procconn_usage_compact(stream->usage, stream->synced_until_ns);
    }
    if (queue->end > queue->peak)
        queue->peak = queue->end;
    return due_ns;
}
