/*
 * A libFuzzer target: walk over arbitrary bytes in each of the library's ways, and check
 * the contracts in decode.h and procconn.cdef. A failed check aborts. AddressSanitizer
 * detects reads past the input, which libFuzzer allocates with its exact size.
 */
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "wire/decode.h"

/* Where a walk ends, besides the end of the buffer and malformed framing. */
enum walk_end {
    TO_FAILURE, /* decode() */
    TO_DONE,    /* NetlinkMessageIter, procconn_find_acknowledgement: at a bare NLMSG_DONE */
    TO_END,     /* ProcConnector, which joins datagrams */
};

/* The first acknowledgement that a walk finds. */
struct acknowledgement {
    bool found;
    uint32_t ack;
    uint32_t error;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Sum of the bytes read; volatile, so that the compiler keeps the reads. */
static volatile uint32_t sink;

static void touch(const uint8_t *bytes, size_t size)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < size; i++)
        sum += bytes[i];
    sink = sum;
}

static bool is_bad_framing(enum procconn_status status)
{
    return status == PROCCONN_BAD_HEADER || status == PROCCONN_BAD_LENGTH;
}

/* Check that the step consumed the message at the old offset, or did not move. */
static void check_step(const struct procconn_walk *before, const struct procconn_walk *after,
                       enum procconn_status status)
{
    size_t left = before->size - before->offset;

    CHECK(after->buffer == before->buffer && after->size == before->size);
    CHECK(after->at == before->offset);
    CHECK(after->offset <= after->size);
    CHECK(status >= PROCCONN_OVERRUN && status <= PROCCONN_LOST);
    CHECK((status == PROCCONN_BAD_HEADER) == (left > 0 && left < NLMSG_HEADER_SIZE));
    if (left == 0) {
        CHECK(status == PROCCONN_END && after->offset == after->at);
    } else if (is_bad_framing(status)) {
        CHECK(after->offset == after->at);
    } else {
        CHECK(after->offset >= after->at + NLMSG_HEADER_SIZE);
        CHECK(after->offset % NLMSG_ALIGNMENT == 0 || after->offset == after->size);
    }
}

/* Check that END within the buffer is a bare header of type DONE. */
static void check_done(const struct procconn_walk *walk)
{
    const uint8_t *message = walk->buffer + walk->at;
    uint16_t type;

    memcpy(&type, message + NLMSG_TYPE_AT, sizeof type);
    CHECK(type == NLMSG_TYPE_DONE);
    CHECK(procconn_load_u32(message + NLMSG_LEN_AT) == NLMSG_HEADER_SIZE);
    CHECK(walk->offset == walk->at + NLMSG_HEADER_SIZE);
}

static bool is_known(uint32_t what)
{
    for (unsigned bit = 0; bit < 32; bit++)
        if (what == 1U << bit)
            return procconn_kinds[bit].words != 0;
    return false;
}

/* Check that the event lies within its message and has the fields of its kind. */
static void check_event(const struct procconn_walk *walk, const struct procconn_event *event,
                        enum procconn_status status)
{
    const struct procconn_kind *kind = event->kind;
    size_t begin = (size_t)(event->data - walk->buffer);
    size_t words;

    CHECK((event->what == PROCCONN_NONE) == (status == PROCCONN_ACKNOWLEDGEMENT));
    CHECK(begin == walk->at + EVENT_DATA_AT);
    CHECK(begin <= walk->offset && event->data_size <= walk->offset - begin);
    CHECK(status != PROCCONN_ACKNOWLEDGEMENT || event->data_size >= WORD_SIZE);
    touch(event->data, event->data_size);

    CHECK((kind != NULL) == is_known(event->what));
    if (kind == NULL)
        return;
    CHECK(event->what == 1U << (kind - procconn_kinds));
    words = event->data_size / WORD_SIZE;
    CHECK(words >= kind->words || (kind->older_size != 0 && event->data_size == kind->older_size));
    for (size_t i = 0; i < kind->words; i++)
        CHECK(i < words || procconn_event_word(event, i) == 0);
    if (kind->has_name)
        touch(event->data + kind->words * (size_t)WORD_SIZE, COMM_NAME_SIZE);
}

/* Check that the texts of a program, or the values of a usage, fill the trailer. */
static void check_trailer(const struct procconn_walk *walk, const struct procconn_event *event)
{
    const struct program_header *header = &event->program;
    const uint8_t *end = event->data + event->data_size;
    size_t sum = 0, most;

    CHECK(event->trailer >= walk->buffer + walk->at + TRAILER_AT && event->trailer <= end);
    if (event->what == PROCCONN_EXIT) {
        CHECK(end - event->trailer == USAGE_COUNT * USAGE_VALUE_SIZE);
        touch(event->trailer, USAGE_COUNT * USAGE_VALUE_SIZE);
        return;
    }
    CHECK(event->what == PROCCONN_EXEC);
    CHECK(header->magic == PROGRAM_MAGIC);
    CHECK(header->version >= 1 && header->version <= PROGRAM_VERSION);
    CHECK((header->flags >> PROGRAM_MISSING_SHIFT & PROGRAM_MISSING_MASK) < PROGRAM_MISSING_COUNT);
    for (size_t i = 0; i < TEXT_COUNT; i++) {
        most = i == ARGV_TEXT ? PROGRAM_MOST_ARGV : PROGRAM_MOST_TEXT;
        CHECK(header->sizes[i] == PROGRAM_ABSENT || header->sizes[i] <= most);
        sum += header->sizes[i] == PROGRAM_ABSENT ? 0 : header->sizes[i];
    }
    CHECK(sum == (size_t)(end - event->trailer));
    touch(event->trailer, sum);
}

/* Check that a loss comes from a message of the library, within its bounds. */
static void check_lost(const struct procconn_walk *walk, const struct procconn_event *event)
{
    const uint8_t *message = walk->buffer + walk->at;

    CHECK(walk->offset - walk->at >= LOST_SIZE);
    CHECK(procconn_load_u32(message + CN_MSG_IDX_AT) == CN_IDX_OWN);
    CHECK(procconn_load_u32(message + CN_MSG_VAL_AT) == CN_VAL_LOST);
    CHECK(memcmp(&event->lost, message + LOST_COUNT_AT, LOST_COUNT_SIZE) == 0);
    CHECK(memcmp(&event->timestamp_ns, message + EVENT_TIMESTAMP_AT, 8) == 0);
}

static void note_acknowledgement(struct acknowledgement *first, const struct procconn_walk *walk,
                                 const struct procconn_event *event)
{
    if (first->found)
        return;
    first->found = true;
    first->ack = procconn_load_u32(walk->buffer + walk->at + CN_MSG_ACK_AT);
    first->error = procconn_event_word(event, 0);
}

/* Take one step and check it. */
static enum procconn_status step(struct procconn_walk *walk, struct acknowledgement *first)
{
    struct procconn_walk before = *walk;
    struct procconn_event event;
    enum procconn_status status;

    memset(&event, 0xA5, sizeof event); /* so that unset pointers are invalid */
    status = procconn_next(walk, &event);
    check_step(&before, walk, status);
    if (status == PROCCONN_EVENT || status == PROCCONN_ACKNOWLEDGEMENT)
        check_event(walk, &event, status);
    if (status == PROCCONN_EVENT && event.trailer != NULL)
        check_trailer(walk, &event);
    if (status == PROCCONN_LOST)
        check_lost(walk, &event);
    if (status == PROCCONN_END && walk->offset != walk->at)
        check_done(walk);
    if (status == PROCCONN_ERROR)
        CHECK(walk->error != 0);
    if (status == PROCCONN_ACKNOWLEDGEMENT)
        note_acknowledgement(first, walk, &event);
    return status;
}

static bool is_over(const struct procconn_walk *walk, enum procconn_status status,
                    enum walk_end end)
{
    if (walk->at == walk->size || is_bad_framing(status))
        return true;
    if (end == TO_END)
        return false;
    return status == PROCCONN_END || (end == TO_FAILURE && status < 0);
}

/* Walk over the bytes; return the state at the end. */
static struct procconn_walk walk_over(const uint8_t *data, size_t size, enum walk_end end,
                                      struct acknowledgement *first)
{
    struct procconn_walk walk = {.buffer = data, .size = size};
    enum procconn_status status;

    memset(first, 0, sizeof *first);
    do
        status = step(&walk, first);
    while (!is_over(&walk, status, end));
    return walk;
}

static void check_find_acknowledgement(const uint8_t *data, size_t size,
                                       const struct acknowledgement *first)
{
    int64_t other = procconn_find_acknowledgement(data, size, first->ack + 1);

    CHECK(other >= -1 && other <= UINT32_MAX);
    if (first->found)
        CHECK(procconn_find_acknowledgement(data, size, first->ack) == first->error);
    else
        CHECK(other == -1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct acknowledgement first, ignored;
    struct procconn_walk to_failure = walk_over(data, size, TO_FAILURE, &ignored);
    struct procconn_walk to_done = walk_over(data, size, TO_DONE, &first);
    struct procconn_walk to_end = walk_over(data, size, TO_END, &ignored);

    CHECK(to_failure.offset <= to_done.offset && to_done.offset <= to_end.offset);
    check_find_acknowledgement(data, size, &first);
    return 0;
}
