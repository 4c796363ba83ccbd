/*
 * The layout of a Proc Connector datagram, in native byte order.
 *
 *  offset
 *    0   +-----------------------------------------------+
 *        | nlmsg_len u32                                 |  nlmsghdr, 16 bytes
 *    4   | nlmsg_type u16        | nlmsg_flags u16       |
 *    8   | nlmsg_seq u32                                 |
 *   12   | nlmsg_pid u32                                 |
 *   16   +-----------------------------------------------+
 *        | id.idx u32 = 1                                |  cn_msg, 20 bytes
 *   20   | id.val u32 = 1                                |
 *   24   | seq u32, counts per CPU                       |
 *   28   | ack u32                                       |
 *   32   | len u16, bytes after  | flags u16             |
 *   36   +-----------------------------------------------+
 *        | what u32                                      |  proc_event, 16 bytes
 *   40   | cpu u32                                       |  and its union
 *   44   | timestamp_ns u64, not 8-aligned               |
 *   52   +-----------------------------------------------+
 *        | event_data, a union of 24 bytes               |
 *        |   pid and tgid, then what the kind adds       |
 *   76   +-----------------------------------------------+
 *
 * Lost events are reported in the same stream, by a message of the library. No connector of the
 * kernel has its ID, and such a message is not accepted from a socket.
 *
 *   16   +-----------------------------------------------+
 *        | id.idx u32 = 0x636f6e6e, id.val u32 = 1       |  cn_msg, 20 bytes
 *   24   | seq 0, ack 0, len 24, flags 0                 |
 *   36   +-----------------------------------------------+
 *        | what 0, cpu 0, timestamp_ns u64               |
 *   52   | count u64, 0 if it is not known               |
 *   60   +-----------------------------------------------+
 *
 * The library may attach a trailer to the kernel's EXEC and EXIT, right after the union. nlmsg_len
 * and cn_msg.len include it. Trailers are not accepted from a socket either.
 *
 *   76   +-----------------------------------------------+
 *        | magic u32, version u16, flags u16             |  a program (EXEC)
 *   84   | ppid, uid, euid, gid, egid u32                |
 *  104   | sizes u16 of argv, name, exe, cwd, cgroup     |
 *  114   | 0 u16                                         |
 *  116   +-----------------------------------------------+
 *        | their bytes, in this order                    |
 *        +-----------------------------------------------+
 *
 *   76   +-----------------------------------------------+
 *        | magic u32, version u16, flags u16 = 0         |  a usage (EXIT)
 *   84   | 13 u64, in the order of Usage's fields        |
 *  188   +-----------------------------------------------+
 *
 * The constants are written out here because distributions' headers differ:
 * linux/cn_proc.h gained and moved names over the years. The layout itself is
 * kernel ABI and does not change. Python gets them from here too: csrc/build.py
 * exports every name that begins a line of an enum.
 */
#ifndef PROCCONN_WIRE_H
#define PROCCONN_WIRE_H

#include <stdint.h>

enum {
    /* struct nlmsghdr */
    NLMSG_LEN_AT = 0,
    NLMSG_TYPE_AT = 4,
    NLMSG_FLAGS_AT = 6,
    NLMSG_SEQ_AT = 8,
    NLMSG_PID_AT = 12,
    NLMSG_HEADER_SIZE = 16,
    NLMSG_ALIGNMENT = 4,

    /* nlmsg_type; the kernel sends events as DONE with a payload */
    NLMSG_TYPE_NOOP = 1,
    NLMSG_TYPE_ERROR = 2,
    NLMSG_TYPE_DONE = 3,
    NLMSG_TYPE_OVERRUN = 4,

    /* struct nlmsgerr, the payload of ERROR: a negative errno, or 0 */
    NLMSGERR_ERROR_AT = NLMSG_HEADER_SIZE,
    NLMSGERR_ERROR_SIZE = 4,

    /* struct cn_msg */
    CN_MSG_AT = NLMSG_HEADER_SIZE,
    CN_MSG_IDX_AT = CN_MSG_AT,
    CN_MSG_VAL_AT = CN_MSG_AT + 4,
    CN_MSG_SEQ_AT = CN_MSG_AT + 8,
    CN_MSG_ACK_AT = CN_MSG_AT + 12,
    CN_MSG_LEN_AT = CN_MSG_AT + 16,
    CN_MSG_FLAGS_AT = CN_MSG_AT + 18,
    CN_MSG_HEADER_SIZE = 20,
    CN_IDX_PROC = 1,
    CN_VAL_PROC = 1,
    CN_IDX_OWN = 0x636f6e6e, /* "conn": the library's */
    CN_VAL_LOST = 1,

    /* struct proc_event */
    EVENT_AT = CN_MSG_AT + CN_MSG_HEADER_SIZE,
    EVENT_WHAT_AT = EVENT_AT,
    EVENT_CPU_AT = EVENT_AT + 4,
    EVENT_TIMESTAMP_AT = EVENT_AT + 8,
    EVENT_HEADER_SIZE = 16,
    EVENT_DATA_AT = EVENT_AT + EVENT_HEADER_SIZE,

    /* the union; it had 16 bytes before COMM was added */
    EVENT_DATA_SIZE = 24,
    MESSAGE_SIZE = EVENT_DATA_AT + EVENT_DATA_SIZE,
    WORD_SIZE = 4,
    COMM_NAME_SIZE = 16,

    /* u32 fields that filters read, by number: of FORK, of EXIT */
    CHILD_PID_WORD = 2,
    EXIT_CODE_WORD = 2,

    /* the message that reports loss */
    LOST_COUNT_AT = EVENT_DATA_AT,
    LOST_COUNT_SIZE = 8,
    LOST_SIZE = LOST_COUNT_AT + LOST_COUNT_SIZE,

    /* A trailer: its first bytes distinguish it from a newer kernel's longer union. */
    TRAILER_AT = MESSAGE_SIZE,
    TRAILER_VERSION_AT = 4,
    TRAILER_BEGINNING_SIZE = 8,

    /* of an EXEC: the program */
    PROGRAM_MAGIC = 0x636e7067, /* "cnpg" */
    PROGRAM_VERSION = 2,
    PROGRAM_CUT = 1,           /* flags, bit 0: argv is not complete */
    PROGRAM_MISSING_SHIFT = 8, /* flags, bits 8 to 11: why something is absent */
    PROGRAM_MISSING_MASK = 15,
    PROGRAM_MISSING_COUNT = 9,        /* as enum procconn_missing */
    PROGRAM_MISSING_COUNT_BEFORE = 5, /* in version 1, which is otherwise the same */
    PROGRAM_ABSENT = 0xFFFF,          /* as a size: that text is not known */
    PROGRAM_MOST_ARGV = 49152,
    PROGRAM_MOST_TEXT = 4096,

    /* of an EXIT: the usage of the task */
    USAGE_MAGIC = 0x636e7573, /* "cnus" */
    USAGE_VERSION = 1,
    USAGE_COUNT = 13,
    USAGE_VALUE_SIZE = 8,
    USAGE_SIZE = TRAILER_BEGINNING_SIZE + USAGE_COUNT * USAGE_VALUE_SIZE,

    /* A request: both headers and one of these words. It is sent to the kernel, port 0, over a
     * socket of this protocol; members of the group receive events. */
    REQUEST_LISTEN = 1,
    REQUEST_IGNORE = 2,
    REQUEST_SIZE = EVENT_AT + WORD_SIZE,
    CONNECTOR_PROTOCOL = 11,
    CONNECTOR_GROUP = CN_IDX_PROC,
};

_Static_assert(EVENT_AT == 36, "cn_msg has 20 bytes");
_Static_assert(EVENT_TIMESTAMP_AT == 44, "the timestamp is not 8-aligned");
_Static_assert(EVENT_DATA_AT == 52, "proc_event's header has 16 bytes");
_Static_assert(MESSAGE_SIZE == 76, "a datagram has 76 bytes");
_Static_assert(USAGE_SIZE == 112, "a usage has 112 bytes");
_Static_assert(LOST_SIZE == 60, "a Lost has 60 bytes");
_Static_assert(2 * WORD_SIZE + COMM_NAME_SIZE == EVENT_DATA_SIZE, "COMM fills the union");

/* A program's trailer up to its texts. argv has the format of /proc/PID/cmdline: each argument ends
 * with a NUL, except a last one that was cut. */
enum { PPID_ID, UID_ID, EUID_ID, GID_ID, EGID_ID, ID_COUNT };
enum { ARGV_TEXT, NAME_TEXT, EXE_TEXT, CWD_TEXT, CGROUP_TEXT, TEXT_COUNT };

struct program_header {
    uint32_t magic;
    uint16_t version, flags;
    uint32_t ids[ID_COUNT];
    uint16_t sizes[TEXT_COUNT];
    uint16_t padding;
};
_Static_assert(sizeof(struct program_header) == 40, "a program's header has 40 bytes");

#define PROGRAM_UNKNOWN UINT32_MAX /* as an id */
#define USAGE_UNKNOWN UINT64_MAX   /* as a value: the kernel does not account it */

/* struct sockaddr_nl, so that no kernel header is needed to build */
struct netlink_address {
    uint16_t family;
    uint16_t padding;
    uint32_t port; /* nl_pid: a port number, 0 for the kernel; not a PID */
    uint32_t groups;
};
_Static_assert(sizeof(struct netlink_address) == 12, "sockaddr_nl has 12 bytes");

#endif
