/*
 * A taskstats message, which the kernel sends when a task ends, in native byte order. Pure C: no
 * allocation, no I/O.
 *
 *  offset
 *    0   +-----------------------------------------------+
 *        | nlmsghdr, nlmsg_type = the family's number    |  wire/wire.h
 *   16   +-----------------------------------------------+
 *        | cmd u8 = NEW | version u8 | reserved u16      |  genlmsghdr
 *   20   +-----------------------------------------------+
 *        | nla_len u16  | nla_type u16 = AGGR_PID        |
 *   24   |  +--------------------------------------------+
 *        |  | nla_len, PID   | pid u32                  |
 *        |  | nla_len, NULL  (padding, if at all)        |
 *        |  | nla_len, STATS | struct taskstats           |
 *        +--+--------------------------------------------+
 *        | AGGR_TGID, of the last thread of several: the |
 *        | group's delays and CPU time, nothing else     |
 *        +-----------------------------------------------+
 *
 * The structure has grown: 416 bytes in Linux 6.1, 432 in 6.12, 560 in 6.18. Fields keep their
 * offsets, except in version 15 (6.14, and 6.15 until it was fixed), which inserted two fields
 * after each delay.
 */
#ifndef PROCCONN_TASKSTATS_H
#define PROCCONN_TASKSTATS_H

#include "internals.h"
#include "wire/wire.h"

enum {
    /* struct genlmsghdr */
    GENL_CMD_AT = NLMSG_HEADER_SIZE,
    GENL_HEADER_SIZE = 4,
    GENL_ATTRIBUTES_AT = NLMSG_HEADER_SIZE + GENL_HEADER_SIZE,

    /* struct nlattr */
    ATTRIBUTE_TYPE_AT = 2,
    ATTRIBUTE_HEADER_SIZE = 4,
    ATTRIBUTE_TYPE_MASK = 0x3FFF,

    /* linux/taskstats.h */
    TASKSTATS_COMMAND_NEW = 2,
    TASKSTATS_ATTRIBUTE_PID = 1,
    TASKSTATS_ATTRIBUTE_STATS = 3,
    TASKSTATS_ATTRIBUTE_AGGR_PID = 4,

    /* struct taskstats */
    STATS_VERSION_AT = 0,
    STATS_EXIT_CODE_AT = 4,
    STATS_FLAGS_AT = 8,
    STATS_CPU_COUNT_AT = 16,
    STATS_CPU_DELAY_AT = 24,
    STATS_CPU_RUN_VIRTUAL_AT = 72,
    STATS_ELAPSED_US_AT = 144,
    STATS_USER_US_AT = 152,
    STATS_SYSTEM_US_AT = 160,
    STATS_MINOR_FAULTS_AT = 168,
    STATS_MAJOR_FAULTS_AT = 176,
    STATS_PEAK_RSS_KIB_AT = 200,
    STATS_PEAK_VM_KIB_AT = 208,
    STATS_READ_CHARS_AT = 216,
    STATS_WRITE_CHARS_AT = 224,
    STATS_READ_BYTES_AT = 248,
    STATS_WRITE_BYTES_AT = 256,
    STATS_SWITCHES_AT = 272,
    STATS_INVOLUNTARY_AT = 280,
    STATS_SMALLEST_SIZE = 288,
    STATS_TGID_AT = 368,
    STATS_TGID_SIZE = 4,

    /* from version 12 on there is a tgid, and a flag for the last task of its group */
    STATS_VERSION_WITH_TGID = 12,
    STATS_FLAG_LAST = 0x20, /* AGROUP, linux/acct.h */

    /* bytes that version 15 inserted before the CPU time, and before the tgid */
    STATS_VERSION_SHIFTED = 15,
    STATS_SHIFT = 48,
    STATS_TGID_SHIFT = 96,
};

/* Return the payload of the attribute of that type, and its size in *found; NULL if there is
 * none. */
const uint8_t *procconn_find_attribute(const uint8_t *bytes, size_t size, unsigned type,
                                       size_t *found);

#endif
