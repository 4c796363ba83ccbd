/* The event that a walk over a netlink buffer finds, and accessors of its fields. */
#ifndef PROCCONN_MESSAGE_H
#define PROCCONN_MESSAGE_H

#include <stdbool.h>
#include <string.h>

#include "procconn.h"
#include "wire/wire.h"

/* An event, or a loss, as views into the buffer; valid as long as the buffer is. */
struct procconn_event {
    uint32_t what;
    uint32_t cpu;
    uint64_t timestamp_ns;
    const uint8_t *data; /* the union, as received */
    size_t data_size;
    const struct procconn_kind *kind; /* NULL for a kind unknown to this library */
    uint64_t lost;                    /* of a loss: number of events, 0 if unknown */
    const uint8_t *trailer;           /* a program's texts or a usage's values, or NULL */
    struct program_header program;    /* of an EXEC with a trailer; a copy */
};

static inline uint16_t procconn_load_u16(const uint8_t *bytes)
{
    uint16_t value;

    memcpy(&value, bytes, sizeof value);
    return value;
}

static inline uint32_t procconn_load_u32(const uint8_t *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, sizeof value);
    return value;
}

static inline uint64_t procconn_load_u64(const uint8_t *bytes)
{
    uint64_t value;

    memcpy(&value, bytes, sizeof value);
    return value;
}

static inline void procconn_store_u16(uint8_t *bytes, uint16_t value)
{
    memcpy(bytes, &value, sizeof value);
}

static inline void procconn_store_u32(uint8_t *bytes, uint32_t value)
{
    memcpy(bytes, &value, sizeof value);
}

/* Begin a message of `size` bytes: write its headers, and 0 into all other bytes. */
static inline void procconn_write_headers(uint8_t *message, uint16_t size, uint32_t idx,
                                          uint32_t val)
{
    memset(message, 0, size);
    procconn_store_u32(message + NLMSG_LEN_AT, size);
    procconn_store_u16(message + NLMSG_TYPE_AT, NLMSG_TYPE_DONE);
    procconn_store_u32(message + CN_MSG_IDX_AT, idx);
    procconn_store_u32(message + CN_MSG_VAL_AT, val);
    procconn_store_u16(message + CN_MSG_LEN_AT, (uint16_t)(size - EVENT_AT));
}

/* Return u32 field `index` of the union; 0 if an older kernel did not send it. */
static inline uint32_t procconn_event_word(const struct procconn_event *event, size_t index)
{
    if ((index + 1) * WORD_SIZE > event->data_size)
        return 0;
    return procconn_load_u32(event->data + index * WORD_SIZE);
}

#endif
