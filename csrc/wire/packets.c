/* The walk over the packets of a recording: pure C, no allocation, no I/O, no state. */
#include "wire/packets.h"

#include "wire/byteorder.h"
#include "wire/decode.h"

enum { NS_PER_S = 1000000000 };

/* A complete packet; `messages` is NULL if it is of another netlink protocol. */
struct packet {
    uint64_t wall_ns;
    const uint8_t *messages;
    size_t size;
};

/* The messages copied from one packet. */
struct copied {
    size_t size;
    uint64_t timestamp_ns; /* of the first message */
    uint32_t malformed;    /* messages that were left out */
};

static uint32_t load(const struct procconn_packets *packets, const uint8_t *bytes)
{
    uint32_t value = procconn_load_u32(bytes);

    return packets->is_swapped ? __builtin_bswap32(value) : value;
}

/* Whether the cooked header has the connector's protocol; big-endian in every file. */
static bool is_connector(const uint8_t *cooked)
{
    return cooked[COOKED_PROTOCOL_AT] == 0 && cooked[COOKED_PROTOCOL_AT + 1] == CONNECTOR_PROTOCOL;
}

/* Fill *packet with the one at packets->offset. Returns false and sets *status if it is incomplete
 * or invalid. */
static bool find_packet(const struct procconn_packets *packets, struct packet *packet,
                        enum procconn_packets_status *status)
{
    const uint8_t *header = packets->bytes + packets->offset;
    size_t left = packets->size - packets->offset, captured;

    *status = PROCCONN_PACKETS_PART;
    if (left < PACKET_HEADER_SIZE)
        return false;
    captured = load(packets, header + PACKET_CAPTURED_AT);
    if (captured < COOKED_SIZE || captured > PACKET_LARGEST) {
        *status = PROCCONN_PACKETS_BAD;
        return false;
    }
    if (captured > left - PACKET_HEADER_SIZE)
        return false;
    packet->wall_ns = (uint64_t)load(packets, header + PACKET_SECONDS_AT) * NS_PER_S +
                      (uint64_t)load(packets, header + PACKET_FRACTION_AT) * packets->unit_ns;
    packet->size = captured - COOKED_SIZE;
    packet->messages = NULL;
    if (is_connector(header + PACKET_HEADER_SIZE))
        packet->messages = header + PACKET_HEADER_SIZE + COOKED_SIZE;
    return true;
}

/* Return the length of a complete message in either byte order; 0 if it is not complete. */
static size_t message_length(const uint8_t *message, size_t left, bool *is_swapped)
{
    size_t length;

    if (left < NLMSG_HEADER_SIZE)
        return 0;
    length = procconn_load_u32(message + NLMSG_LEN_AT);
    *is_swapped = length < NLMSG_HEADER_SIZE || length > left;
    if (*is_swapped)
        length = __builtin_bswap32((uint32_t)length);
    return length < NLMSG_HEADER_SIZE || length > left ? 0 : length;
}

/* Whether the message is the Proc Connector's or the library's, and has a timestamp. */
static bool has_timestamp(const uint8_t *message, size_t length)
{
    uint32_t idx, val;

    if (length < EVENT_DATA_AT)
        return false;
    idx = procconn_load_u32(message + CN_MSG_IDX_AT);
    val = procconn_load_u32(message + CN_MSG_VAL_AT);
    return (idx == CN_IDX_PROC && val == CN_VAL_PROC) || (idx == CN_IDX_OWN && val == CN_VAL_LOST);
}

/* Whether a message without a timestamp reports an error or an overrun. */
static bool reports_failure(const uint8_t *message, size_t length)
{
    uint16_t type = procconn_load_u16(message + NLMSG_TYPE_AT);

    if (type == NLMSG_TYPE_ERROR)
        return length < NLMSGERR_ERROR_AT + NLMSGERR_ERROR_SIZE ||
               procconn_load_u32(message + NLMSGERR_ERROR_AT) != 0;
    return type == NLMSG_TYPE_OVERRUN;
}

/*
 * Copy the messages with timestamps, padded, in native byte order. Only the padding of the last one
 * can be missing in the packet, and it is shorter than the packet's headers: so the copy is shorter
 * than the packet.
 */
static struct copied copy(const struct packet *packet, uint8_t *to)
{
    size_t left = packet->messages != NULL ? packet->size : 0, length, padding;
    const uint8_t *from = packet->messages;
    struct copied copied = {0};
    uint8_t *message;
    bool is_swapped;

    while (left > 0) {
        length = message_length(from, left, &is_swapped);
        if (length == 0) {
            copied.malformed++;
            break;
        }
        message = to + copied.size;
        memcpy(message, from, length);
        from += procconn_span(length, left);
        left -= procconn_span(length, left);
        if (is_swapped)
            procconn_message_swap(message, length);
        if (!has_timestamp(message, length)) {
            copied.malformed += reports_failure(message, length);
            continue;
        }
        if (copied.size == 0)
            copied.timestamp_ns = procconn_load_u64(message + EVENT_TIMESTAMP_AT);
        padding = -length % NLMSG_ALIGNMENT;
        memset(message + length, 0, padding);
        copied.size += length + padding;
    }
    return copied;
}

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a < b ? b - a : a - b;
}

/* Whether the wall clock and the timestamps advanced by different times. The difference of the two
 * clocks may not fit into 64 bits, so it is never computed. */
static bool is_step(const struct procconn_packets *packets, uint64_t wall_ns, uint64_t timestamp_ns)
{
    uint64_t wall = distance(wall_ns, packets->wall_ns);
    uint64_t monotonic = distance(timestamp_ns, packets->timestamp_ns);

    if (!packets->has_clock)
        return true;
    if ((wall_ns < packets->wall_ns) == (timestamp_ns < packets->timestamp_ns))
        return distance(wall, monotonic) > packets->step_ns;
    return wall > packets->step_ns || monotonic > packets->step_ns - wall;
}

enum procconn_packets_status procconn_packets_read(struct procconn_packets *packets,
                                                   uint8_t *messages)
{
    enum procconn_packets_status status;
    struct packet packet;
    struct copied copied;

    packets->copied = 0;
    packets->is_step = 0;
    packets->malformed = 0;
    while (find_packet(packets, &packet, &status)) {
        copied = copy(&packet, messages + packets->copied);
        if (copied.size > 0 && is_step(packets, packet.wall_ns, copied.timestamp_ns)) {
            if (packets->copied > 0)
                return PROCCONN_PACKETS_STEP;
            packets->is_step = 1;
            packets->has_clock = 1;
            packets->wall_ns = packet.wall_ns;
            packets->timestamp_ns = copied.timestamp_ns;
        }
        packets->offset += PACKET_HEADER_SIZE + COOKED_SIZE + packet.size;
        packets->copied += copied.size;
        packets->malformed += copied.malformed;
    }
    return status;
}
