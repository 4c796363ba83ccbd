#include "wire/decode.h"

#include <limits.h>

#include "wire/trailer.h"

/* `what` has one bit for each kind; its number is the index in the table. */
#define BIT(what) __builtin_ctz(what)

/* Linux 4.18 added the parent fields of EXIT and COREDUMP. */
const struct procconn_kind procconn_kinds[32] = {
    [BIT(PROCCONN_FORK)] = {.words = 4},
    [BIT(PROCCONN_EXEC)] = {.words = 2, .has_trailer = 1},
    [BIT(PROCCONN_UID)] = {.words = 4},
    [BIT(PROCCONN_GID)] = {.words = 4},
    [BIT(PROCCONN_SID)] = {.words = 2},
    [BIT(PROCCONN_PTRACE)] = {.words = 4},
    [BIT(PROCCONN_COMM)] = {.words = 2, .has_name = 1},
    [BIT(PROCCONN_COREDUMP)] = {.words = 4, .older_size = 2 * WORD_SIZE},
    [BIT(PROCCONN_EXIT)] = {.words = 6, .older_size = 4 * WORD_SIZE, .has_trailer = 1},
};

static enum procconn_status parse_error(const uint8_t *message, size_t length, int *error)
{
    int32_t value;

    if (length < NLMSGERR_ERROR_AT + NLMSGERR_ERROR_SIZE)
        return PROCCONN_BAD_ERROR;
    memcpy(&value, message + NLMSGERR_ERROR_AT, sizeof value);
    if (value == 0)
        return PROCCONN_CONTROL;
    /* The kernel sends it negative; INT_MIN is no errno and cannot be negated. */
    *error = value < 0 && value != INT_MIN ? -value : value;
    return PROCCONN_ERROR;
}

/* Whether the union has all fields of this kind, or all that older kernels sent. */
static bool has_fields(const struct procconn_kind *kind, size_t size)
{
    size_t own = kind->words * (size_t)WORD_SIZE + (kind->has_name ? COMM_NAME_SIZE : 0);

    return size >= own || (kind->older_size != 0 && size == kind->older_size);
}

static enum procconn_status parse_lost(const uint8_t *message, size_t size,
                                       struct procconn_event *event)
{
    if (size < LOST_SIZE - EVENT_AT)
        return PROCCONN_BAD_FIELDS;
    event->timestamp_ns = procconn_load_u64(message + EVENT_TIMESTAMP_AT);
    event->lost = procconn_load_u64(message + LOST_COUNT_AT);
    return PROCCONN_LOST;
}

/* `size`: of the data after the connector's header. */
static enum procconn_status parse_event(const uint8_t *message, size_t size,
                                        struct procconn_event *event)
{
    if (size < EVENT_HEADER_SIZE)
        return PROCCONN_BAD_EVENT;
    event->what = procconn_load_u32(message + EVENT_WHAT_AT);
    event->cpu = procconn_load_u32(message + EVENT_CPU_AT);
    event->timestamp_ns = procconn_load_u64(message + EVENT_TIMESTAMP_AT);
    event->data = message + EVENT_DATA_AT;
    event->data_size = size - EVENT_HEADER_SIZE;
    event->trailer = NULL;
    event->kind = procconn_kind_of(event->what);
    if (event->what == PROCCONN_NONE)
        return event->data_size < WORD_SIZE ? PROCCONN_BAD_FIELDS : PROCCONN_ACKNOWLEDGEMENT;
    if (event->kind != NULL && !has_fields(event->kind, event->data_size))
        return PROCCONN_BAD_FIELDS;
    if (event->data_size > EVENT_DATA_SIZE && event->kind != NULL && event->kind->has_trailer)
        return procconn_parse_trailer(event);
    return PROCCONN_EVENT;
}

static enum procconn_status parse_connector(const uint8_t *message, size_t length,
                                            struct procconn_event *event)
{
    uint32_t idx, val;
    size_t size;

    if (length < CN_MSG_AT + CN_MSG_HEADER_SIZE)
        return PROCCONN_BAD_CONNECTOR;
    idx = procconn_load_u32(message + CN_MSG_IDX_AT);
    val = procconn_load_u32(message + CN_MSG_VAL_AT);
    if (!(idx == CN_IDX_PROC && val == CN_VAL_PROC) && !(idx == CN_IDX_OWN && val == CN_VAL_LOST))
        return PROCCONN_FOREIGN;
    size = procconn_load_u16(message + CN_MSG_LEN_AT);
    if (size > length - EVENT_AT)
        return PROCCONN_BAD_DATA;
    return idx == CN_IDX_PROC ? parse_event(message, size, event)
                              : parse_lost(message, size, event);
}

enum procconn_status procconn_next(struct procconn_walk *walk, struct procconn_event *event)
{
    size_t left = walk->size - walk->offset, length;
    const uint8_t *message;

    walk->at = walk->offset;
    if (left == 0)
        return PROCCONN_END;
    if (left < NLMSG_HEADER_SIZE)
        return PROCCONN_BAD_HEADER;
    message = walk->buffer + walk->offset;
    length = procconn_load_u32(message + NLMSG_LEN_AT);
    if (length < NLMSG_HEADER_SIZE || length > left)
        return PROCCONN_BAD_LENGTH;
    walk->offset += procconn_span(length, left);

    switch (procconn_load_u16(message + NLMSG_TYPE_AT)) {
    case NLMSG_TYPE_NOOP:
        return PROCCONN_CONTROL;
    case NLMSG_TYPE_ERROR:
        return parse_error(message, length, &walk->error);
    case NLMSG_TYPE_OVERRUN:
        return PROCCONN_OVERRUN;
    case NLMSG_TYPE_DONE:
        if (length == NLMSG_HEADER_SIZE)
            return PROCCONN_END;
        break;
    default:
        break;
    }
    return parse_connector(message, length, event);
}

int64_t procconn_find_acknowledgement(const uint8_t *buffer, size_t size, uint32_t ack)
{
    struct procconn_walk walk = {.buffer = buffer, .size = size};
    struct procconn_event event;
    enum procconn_status status;

    do {
        status = procconn_next(&walk, &event);
        if (status == PROCCONN_ACKNOWLEDGEMENT &&
            procconn_load_u32(buffer + walk.at + CN_MSG_ACK_AT) == ack)
            return procconn_event_word(&event, 0);
    } while (status != PROCCONN_END && status != PROCCONN_BAD_HEADER &&
             status != PROCCONN_BAD_LENGTH);
    return -1;
}
