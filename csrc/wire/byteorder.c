#include "wire/byteorder.h"

#include "internals.h"
#include "wire/message.h"

/* The widths of adjacent numbers, one digit each. */
static const char netlink_header[] = "42244";
static const char connector_header[] = "444422";
static const char event_header[] = "448";
static const char lost_count[] = "8";
static const char program_header[] = "422"
                                     "44444"
                                     "22222"
                                     "2";
static const char usage[] = "422"
                            "8888888888888";

_Static_assert(sizeof usage - 1 == 3 + USAGE_COUNT, "one digit for each value");

static size_t size_of(const char *widths)
{
    size_t size = 0;

    for (; *widths != '\0'; widths++)
        size += (size_t)(*widths - '0');
    return size;
}

static void reverse(uint8_t *bytes, size_t size)
{
    uint8_t byte;

    for (size_t i = 0; i < size / 2; i++) {
        byte = bytes[i];
        bytes[i] = bytes[size - 1 - i];
        bytes[size - 1 - i] = byte;
    }
}

/* Swap the numbers from `at` on if the message has all of them. */
static bool swap(uint8_t *message, size_t length, size_t at, const char *widths)
{
    if (at > length || length - at < size_of(widths))
        return false;
    for (; *widths != '\0'; widths++) {
        reverse(message + at, (size_t)(*widths - '0'));
        at += (size_t)(*widths - '0');
    }
    return true;
}

static void swap_trailer(uint8_t *message, size_t length)
{
    uint32_t magic;

    if (length < TRAILER_AT + sizeof magic)
        return;
    magic = __builtin_bswap32(procconn_load_u32(message + TRAILER_AT));
    if (magic == PROGRAM_MAGIC)
        swap(message, length, TRAILER_AT, program_header);
    else if (magic == USAGE_MAGIC)
        swap(message, length, TRAILER_AT, usage);
}

/* Swap the fields of the union; older kernels had fewer of them. */
static void swap_fields(uint8_t *message, size_t length, uint32_t what)
{
    const struct procconn_kind *kind;

    if (what == PROCCONN_NONE) { /* the errno of an acknowledgement */
        swap(message, length, EVENT_DATA_AT, "4");
        return;
    }
    if ((what & (what - 1)) != 0)
        return;
    kind = &procconn_kinds[__builtin_ctz(what)];
    for (size_t i = 0; i < kind->words; i++)
        swap(message, length, EVENT_DATA_AT + i * WORD_SIZE, "4");
    if (kind->has_trailer)
        swap_trailer(message, length);
}

void procconn_message_swap(uint8_t *message, size_t length)
{
    uint32_t idx, val;

    swap(message, length, 0, netlink_header);
    if (length < EVENT_AT) {
        swap(message, length, NLMSGERR_ERROR_AT, "4");
        return;
    }
    swap(message, length, CN_MSG_AT, connector_header);
    idx = procconn_load_u32(message + CN_MSG_IDX_AT);
    val = procconn_load_u32(message + CN_MSG_VAL_AT);
    if (idx == CN_IDX_OWN && val == CN_VAL_LOST && length >= LOST_SIZE) {
        swap(message, length, EVENT_AT, event_header);
        swap(message, length, LOST_COUNT_AT, lost_count);
    } else if (idx == CN_IDX_PROC && val == CN_VAL_PROC &&
               swap(message, length, EVENT_AT, event_header)) {
        swap_fields(message, length, procconn_load_u32(message + EVENT_WHAT_AT));
    }
}
