/*
 * A libFuzzer target: any bytes, walked over in each of the ways the library does,
 * must keep what decode.h and procconn.cdef promise. A broken promise aborts; reading
 * past the input, which libFuzzer allocates to its exact size, is AddressSanitizer's
 * to find.
 */
#include <stdio.h>
#include <stdlib.h>

#include "promise.h"
#include "wire/decode.h"

/* Where a walk ends, besides the end of the buffer and damaged framing. */
enum way {
    TO_FAILURE, /* decode() */
    TO_DONE,    /* NetlinkMessageIter, procconn_find_acknowledgement: at a bare NLMSG_DONE */
    TO_END,     /* ProcConnector, which joins datagrams */
};

/* What a walk saw of answers: the first one's ack and errno. */
struct answer {
    bool seen;
    uint32_t ack;
    uint32_t error;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the bytes amount to; volatile, so that reading them is not optimised away. */
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

/* The step took the message at the old offset and moved after it, or stayed. */
static void check_step(const struct procconn_walk *before, const struct procconn_walk *after,
                       enum procconn_status status)
{
    size_t left = before->size - before->offset;

    PROMISE(after->buffer == before->buffer && after->size == before->size);
    PROMISE(after->at == before->offset);
    PROMISE(after->offset <= after->size);
    PROMISE(status >= PROCCONN_OVERRUN && status <= PROCCONN_LOST);
    PROMISE((status == PROCCONN_BAD_HEADER) == (left > 0 && left < NLMSG_HEADER_SIZE));
    if (left == 0) {
        PROMISE(status == PROCCONN_END && after->offset == after->at);
    } else if (is_bad_framing(status)) {
        PROMISE(after->offset == after->at);
    } else {
        PROMISE(after->offset >= after->at + NLMSG_HEADER_SIZE);
        PROMISE(after->offset % NLMSG_ALIGNMENT == 0 || after->offset == after->size);
    }
}

/* Within the buffer, the only END is a header of type DONE and nothing else. */
static void check_done(const struct procconn_walk *walk)
{
    const uint8_t *message = walk->buffer + walk->at;
    uint16_t type;

    memcpy(&type, message + NLMSG_TYPE_AT, sizeof type);
    PROMISE(type == NLMSG_TYPE_DONE);
    PROMISE(procconn_load_u32(message + NLMSG_LEN_AT) == NLMSG_HEADER_SIZE);
    PROMISE(walk->offset == walk->at + NLMSG_HEADER_SIZE);
}

static bool is_known(uint32_t what)
{
    for (unsigned bit = 0; bit < 32; bit++)
        if (what == 1U << bit)
            return procconn_kinds[bit].words != 0;
    return false;
}

/* The event lies within its message, and has what its kind says it has. */
static void check_event(const struct procconn_walk *walk, const struct procconn_event *event,
                        enum procconn_status status)
{
    const struct procconn_kind *kind = event->kind;
    size_t begin = (size_t)(event->data - walk->buffer);
    size_t words;

    PROMISE((event->what == PROCCONN_NONE) == (status == PROCCONN_ACKNOWLEDGEMENT));
    PROMISE(begin == walk->at + EVENT_DATA_AT);
    PROMISE(begin <= walk->offset && event->data_size <= walk->offset - begin);
    PROMISE(status != PROCCONN_ACKNOWLEDGEMENT || event->data_size >= WORD_SIZE);
    touch(event->data, event->data_size);

    PROMISE((kind != NULL) == is_known(event->what));
    if (kind == NULL)
        return;
    PROMISE(event->what == 1U << (kind - procconn_kinds));
    words = event->data_size / WORD_SIZE;
    PROMISE(words >= kind->words ||
            (kind->older_size != 0 && event->data_size == kind->older_size));
    for (size_t i = 0; i < kind->words; i++)
        PROMISE(i < words || procconn_event_word(event, i) == 0);
    if (kind->has_name)
        touch(event->data + kind->words * (size_t)WORD_SIZE, COMM_NAME_SIZE);
}

/* A program's texts, or a usage's values, fill the rest of their message. */
static void check_tail(const struct procconn_walk *walk, const struct procconn_event *event)
{
    const struct program_header *header = &event->program;
    const uint8_t *end = event->data + event->data_size;
    size_t sum = 0, most;

    PROMISE(event->trailer >= walk->buffer + walk->at + TRAILER_AT && event->trailer <= end);
    if (event->what == PROCCONN_EXIT) {
        PROMISE(end - event->trailer == USAGE_COUNT * USAGE_VALUE_SIZE);
        touch(event->trailer, USAGE_COUNT * USAGE_VALUE_SIZE);
        return;
    }
    PROMISE(event->what == PROCCONN_EXEC);
    PROMISE(header->magic == PROGRAM_MAGIC);
    PROMISE(header->version >= 1 && header->version <= PROGRAM_VERSION);
    PROMISE((header->flags >> PROGRAM_MISSING_SHIFT & PROGRAM_MISSING_MASK) <
            PROGRAM_MISSING_COUNT);
    for (size_t i = 0; i < TEXT_COUNT; i++) {
        most = i == ARGV_TEXT ? PROGRAM_MOST_ARGV : PROGRAM_MOST_TEXT;
        PROMISE(header->sizes[i] == PROGRAM_ABSENT || header->sizes[i] <= most);
        sum += header->sizes[i] == PROGRAM_ABSENT ? 0 : header->sizes[i];
    }
    PROMISE(sum == (size_t)(end - event->trailer));
    touch(event->trailer, sum);
}

/* The loss is one of the library's own messages, and is read from within it. */
static void check_lost(const struct procconn_walk *walk, const struct procconn_event *event)
{
    const uint8_t *message = walk->buffer + walk->at;

    PROMISE(walk->offset - walk->at >= LOST_SIZE);
    PROMISE(procconn_load_u32(message + CN_MSG_IDX_AT) == CN_IDX_OWN);
    PROMISE(procconn_load_u32(message + CN_MSG_VAL_AT) == CN_VAL_LOST);
    PROMISE(memcmp(&event->lost, message + LOST_COUNT_AT, LOST_COUNT_SIZE) == 0);
    PROMISE(memcmp(&event->timestamp_ns, message + EVENT_TIMESTAMP_AT, 8) == 0);
}

static void note_answer(struct answer *answer, const struct procconn_walk *walk,
                        const struct procconn_event *event)
{
    if (answer->seen)
        return;
    answer->seen = true;
    answer->ack = procconn_load_u32(walk->buffer + walk->at + CN_MSG_ACK_AT);
    answer->error = procconn_event_word(event, 0);
}

/* One checked step. */
static enum procconn_status step(struct procconn_walk *walk, struct answer *answer)
{
    struct procconn_walk before = *walk;
    struct procconn_event event;
    enum procconn_status status;

    memset(&event, 0xA5, sizeof event); /* what is not filled points nowhere */
    status = procconn_next(walk, &event);
    check_step(&before, walk, status);
    if (status == PROCCONN_EVENT || status == PROCCONN_ACKNOWLEDGEMENT)
        check_event(walk, &event, status);
    if (status == PROCCONN_EVENT && event.trailer != NULL)
        check_tail(walk, &event);
    if (status == PROCCONN_LOST)
        check_lost(walk, &event);
    if (status == PROCCONN_END && walk->offset != walk->at)
        check_done(walk);
    if (status == PROCCONN_ERROR)
        PROMISE(walk->error != 0);
    if (status == PROCCONN_ACKNOWLEDGEMENT)
        note_answer(answer, walk, &event);
    return status;
}

static bool is_over(const struct procconn_walk *walk, enum procconn_status status, enum way way)
{
    if (walk->at == walk->size || is_bad_framing(status))
        return true;
    if (way == TO_END)
        return false;
    return status == PROCCONN_END || (way == TO_FAILURE && status < 0);
}

/* Returns where the walk ended. */
static struct procconn_walk walk_over(const uint8_t *data, size_t size, enum way way,
                                      struct answer *answer)
{
    struct procconn_walk walk = {.buffer = data, .size = size};
    enum procconn_status status;

    memset(answer, 0, sizeof *answer);
    do
        status = step(&walk, answer);
    while (!is_over(&walk, status, way));
    return walk;
}

static void check_find_answer(const uint8_t *data, size_t size, const struct answer *answer)
{
    int64_t other = procconn_find_acknowledgement(data, size, answer->ack + 1);

    PROMISE(other >= -1 && other <= UINT32_MAX);
    if (answer->seen)
        PROMISE(procconn_find_acknowledgement(data, size, answer->ack) == answer->error);
    else
        PROMISE(other == -1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct answer answer, ignored;
    struct procconn_walk to_failure = walk_over(data, size, TO_FAILURE, &ignored);
    struct procconn_walk to_done = walk_over(data, size, TO_DONE, &answer);
    struct procconn_walk to_end = walk_over(data, size, TO_END, &ignored);

    PROMISE(to_failure.offset <= to_done.offset && to_done.offset <= to_end.offset);
    check_find_answer(data, size, &answer);
    return 0;
}
