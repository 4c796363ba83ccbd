"""Send pairs of LISTEN and IGNORE requests as fast as possible, until killed."""

import socket
import struct

LISTEN, IGNORE = 1, 2

sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 11)
requests = [
    struct.pack("=IHHII IIIIHHI", 40, 3, 0, 0, 0, 1, 1, 0, 7, 4, 0, operation)
    for operation in (LISTEN, IGNORE)
]
while True:
    for request in requests:
        sock.sendto(request, (0, 0))
