/*
 * The packets of a recording, which is a pcap file of netlink packets.
 * procconn/recording/packets.py reads and writes its header of 24 bytes.
 *
 *  offset
 *    0   +-----------------------------------------------+
 *        | seconds since 1970 u32                        |  pcap's header, 16 bytes
 *    4   | nanoseconds, or microseconds, u32             |
 *    8   | bytes captured u32, from the cooked header on |
 *   12   | bytes of the original packet u32              |
 *   16   +-----------------------------------------------+
 *        | 0 u16                 | ARPHRD_NETLINK u16    |  cooked header, 16 bytes,
 *   20   | unused, 10 bytes                              |  big-endian in every file
 *   30   | netlink protocol u16                          |
 *   32   +-----------------------------------------------+
 *        | netlink messages, as in wire.h                |
 *        +-----------------------------------------------+
 *
 * The file's magic number gives the byte order of pcap's headers. Python takes these
 * constants from here, like those of wire.h.
 */
#ifndef PROCCONN_PACKETS_H
#define PROCCONN_PACKETS_H

#include "procconn.h"
#include "wire/wire.h"

enum {
    PACKET_SECONDS_AT = 0,
    PACKET_FRACTION_AT = 4,
    PACKET_CAPTURED_AT = 8,
    PACKET_HEADER_SIZE = 16,
    PACKET_LARGEST = 262144, /* captured bytes; pcap tools refuse more */

    COOKED_PROTOCOL_AT = 14,
    COOKED_SIZE = 16,
    COOKED_TYPE_NETLINK = 824, /* ARPHRD_NETLINK */
};

#endif
