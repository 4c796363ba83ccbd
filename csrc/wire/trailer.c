/* What the library attaches to events: a program to an EXEC, a usage to an EXIT. */
#include "wire/trailer.h"

/* Whether each size is within its limit, and the texts together fill what is left. */
static bool sizes_fit(const struct program_header *header, size_t left)
{
    size_t sum = 0;

    for (size_t i = 0; i < TEXT_COUNT; i++) {
        if (header->sizes[i] == PROGRAM_ABSENT)
            continue;
        if (header->sizes[i] > (i == ARGV_TEXT ? PROGRAM_MOST_ARGV : PROGRAM_MOST_TEXT))
            return false;
        sum += header->sizes[i];
    }
    return sum == left;
}

static enum procconn_status parse_program(const uint8_t *trailer, size_t size,
                                          struct procconn_event *event)
{
    struct program_header *header = &event->program;

    if (size < sizeof *header)
        return PROCCONN_BAD_FIELDS;
    memcpy(header, trailer, sizeof *header);
    if (!sizes_fit(header, size - sizeof *header) ||
        (header->flags >> PROGRAM_MISSING_SHIFT & PROGRAM_MISSING_MASK) >=
            (header->version == PROGRAM_VERSION ? PROGRAM_MISSING_COUNT
                                                : PROGRAM_MISSING_COUNT_BEFORE))
        return PROCCONN_BAD_FIELDS;
    event->trailer = trailer + sizeof *header;
    return PROCCONN_EVENT;
}

static enum procconn_status parse_usage(const uint8_t *trailer, size_t size,
                                        struct procconn_event *event)
{
    if (size != USAGE_SIZE)
        return PROCCONN_BAD_FIELDS;
    event->trailer = trailer + TRAILER_BEGINNING_SIZE;
    return PROCCONN_EVENT;
}

enum procconn_status procconn_parse_trailer(struct procconn_event *event)
{
    const uint8_t *trailer = event->data + EVENT_DATA_SIZE;
    size_t size = event->data_size - EVENT_DATA_SIZE;
    uint32_t magic;
    uint16_t version;

    if (size < TRAILER_VERSION_AT + sizeof version)
        return PROCCONN_EVENT;
    magic = procconn_load_u32(trailer);
    version = procconn_load_u16(trailer + TRAILER_VERSION_AT);
    if (event->what == PROCCONN_EXEC && magic == PROGRAM_MAGIC && version >= 1 &&
        version <= PROGRAM_VERSION)
        return parse_program(trailer, size, event);
    if (event->what == PROCCONN_EXIT && magic == USAGE_MAGIC && version == USAGE_VERSION)
        return parse_usage(trailer, size, event);
    return PROCCONN_EVENT;
}
