/*
 * A libFuzzer target: parse arbitrary bytes as the packets of a recording, and check the
 * contract in procconn.cdef. The first input byte selects the byte order and time unit
 * of the file, and where it is split in two. A failed check aborts. AddressSanitizer
 * detects out-of-bounds accesses, as input and output buffers have their exact size.
 */
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "wire/decode.h"
#include "wire/packets.h"

enum {
    STEP_NS = 1000000,
    OPTIONS_SIZE = 1,
    IS_SWAPPED = 1,
    IS_MICROSECONDS = 2,
    SPLIT_SHIFT = 2,
};

/* Sums over the calls of one walk. */
struct total {
    uint8_t *messages;
    size_t size;
    size_t steps;
    size_t malformed;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *allocate(size_t size)
{
    void *memory = malloc(size);

    CHECK(memory != NULL || size == 0);
    return memory;
}

/* Check that all framing is valid, and that each message has a timestamp. */
static void check_messages(const uint8_t *messages, size_t size)
{
    struct procconn_walk walk = {.buffer = messages, .size = size};
    struct procconn_event event;
    enum procconn_status status;

    while (walk.offset < size) {
        status = procconn_next(&walk, &event);
        CHECK(status != PROCCONN_BAD_HEADER && status != PROCCONN_BAD_LENGTH);
        CHECK(status != PROCCONN_END && status != PROCCONN_FOREIGN);
        CHECK(walk.offset - walk.at >= EVENT_DATA_AT);
        CHECK(walk.offset % NLMSG_ALIGNMENT == 0);
    }
}

static void check_call(const struct procconn_packets *before, const struct procconn_packets *after,
                       enum procconn_packets_status status)
{
    CHECK(after->offset >= before->offset && after->offset <= after->size);
    CHECK(after->copied <= after->offset - before->offset);
    CHECK(after->has_clock == (before->has_clock || after->copied > 0));
    CHECK(!after->is_step || after->copied > 0);
    CHECK(before->has_clock || after->copied == 0 || after->is_step);
    CHECK(after->is_step ||
          (after->wall_ns == before->wall_ns && after->timestamp_ns == before->timestamp_ns));
    if (status == PROCCONN_PACKETS_BAD) {
        CHECK(after->size - after->offset >= PACKET_HEADER_SIZE);
    } else if (status == PROCCONN_PACKETS_PART) {
        CHECK(after->size - after->offset < PACKET_HEADER_SIZE + PACKET_LARGEST);
    } else {
        CHECK(status == PROCCONN_PACKETS_STEP);
        CHECK(after->copied > 0 && after->offset < after->size);
    }
}

/* Walk to the end of the bytes or to an invalid packet, one clock step after another. */
static enum procconn_packets_status walk_over(struct procconn_packets *packets, struct total *total)
{
    enum procconn_packets_status status;
    struct procconn_packets before;
    uint8_t *messages;

    do {
        before = *packets;
        messages = allocate(packets->size - packets->offset);
        status = procconn_packets_read(packets, messages);
        check_call(&before, packets, status);
        check_messages(messages, packets->copied);
        if (packets->copied > 0)
            memcpy(total->messages + total->size, messages, packets->copied);
        total->size += packets->copied;
        total->steps += packets->is_step;
        total->malformed += packets->malformed;
        free(messages);
    } while (status == PROCCONN_PACKETS_STEP);
    return status;
}

/* Walk over the first `split` bytes, then over all bytes from where that walk ended. */
static enum procconn_packets_status walk_split(struct procconn_packets packets, size_t split,
                                               struct total *total)
{
    const uint8_t *bytes = packets.bytes;
    size_t size = packets.size;
    uint8_t *part = allocate(split);
    enum procconn_packets_status status;

    if (split > 0)
        memcpy(part, bytes, split);
    packets.bytes = part;
    packets.size = split;
    status = walk_over(&packets, total);
    free(part);
    if (status == PROCCONN_PACKETS_BAD)
        return status;
    packets.bytes = bytes + packets.offset;
    packets.size = size - packets.offset;
    packets.offset = 0;
    return walk_over(&packets, total);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct procconn_packets packets = {.step_ns = STEP_NS}, split;
    struct total once = {0}, twice = {0};
    enum procconn_packets_status status;

    if (size < OPTIONS_SIZE)
        return 0;
    packets.is_swapped = (data[0] & IS_SWAPPED) != 0;
    packets.unit_ns = data[0] & IS_MICROSECONDS ? 1000 : 1;
    packets.bytes = data + OPTIONS_SIZE;
    packets.size = size - OPTIONS_SIZE;
    split = packets;
    once.messages = allocate(packets.size);
    twice.messages = allocate(packets.size);

    status = walk_over(&packets, &once);
    CHECK(walk_split(split, split.size * (data[0] >> SPLIT_SHIFT) >> (8 - SPLIT_SHIFT), &twice) ==
          status);

    CHECK(once.size == twice.size && once.steps == twice.steps);
    CHECK(once.malformed == twice.malformed);
    CHECK(once.size == 0 || memcmp(once.messages, twice.messages, once.size) == 0);
    free(once.messages);
    free(twice.messages);
    return 0;
}
