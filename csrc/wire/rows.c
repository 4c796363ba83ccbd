/* The kernel's events of a buffer as rows of MESSAGE_SIZE bytes. */
#include "wire/decode.h"

/* Whether a row is an event as kernels send it. procconn_next accepts every such row as well, but
 * takes three times as long. */
static bool is_event(const uint8_t *row)
{
    return procconn_load_u32(row + NLMSG_LEN_AT) == MESSAGE_SIZE &&
           procconn_load_u16(row + NLMSG_TYPE_AT) == NLMSG_TYPE_DONE &&
           procconn_load_u32(row + CN_MSG_IDX_AT) == CN_IDX_PROC &&
           procconn_load_u32(row + CN_MSG_VAL_AT) == CN_VAL_PROC &&
           procconn_load_u16(row + CN_MSG_LEN_AT) == MESSAGE_SIZE - EVENT_AT &&
           procconn_load_u32(row + EVENT_WHAT_AT) != PROCCONN_NONE;
}

int procconn_count_rows(struct procconn_walk *walk, struct procconn_rows *rows)
{
    struct procconn_event event;
    enum procconn_status status;

    while (walk->size - walk->offset >= MESSAGE_SIZE && is_event(walk->buffer + walk->offset))
        walk->offset += MESSAGE_SIZE;
    rows->count = walk->offset / MESSAGE_SIZE;
    rows->in_place = 1;
    do {
        status = procconn_next(walk, &event);
        if (status != PROCCONN_EVENT)
            continue;
        if (walk->at != rows->count * MESSAGE_SIZE || event.data_size != EVENT_DATA_SIZE)
            rows->in_place = 0;
        rows->count++;
    } while (status > PROCCONN_END);
    return status;
}

size_t procconn_copy_rows(struct procconn_walk *walk, uint8_t *rows, size_t capacity)
{
    struct procconn_event event;
    enum procconn_status status = PROCCONN_EVENT;
    size_t count = 0, size;

    while (count < capacity && status > PROCCONN_END) {
        status = procconn_next(walk, &event);
        if (status != PROCCONN_EVENT)
            continue;
        size = EVENT_DATA_AT + event.data_size;
        memcpy(rows + count * MESSAGE_SIZE, walk->buffer + walk->at,
               size < MESSAGE_SIZE ? size : MESSAGE_SIZE);
        count++;
    }
    return count;
}
