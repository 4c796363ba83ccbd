"""System call numbers of the architectures that the tests run on, from asm/unistd.h."""

import platform

_ARCHITECTURES = ("x86_64", "aarch64", "s390x")
_COLUMN = _ARCHITECTURES.index(platform.machine())

# None: the C library uses another call on that architecture.
_NUMBERS = {
    "read": (0, 63, 3),
    "write": (1, 64, 4),
    "poll": (7, None, 168),
    "ppoll": (271, 73, 302),
    "epoll_wait": (232, None, 251),
    "epoll_pwait": (281, 22, 312),
    "socket": (41, 198, None),
    "getsockopt": (55, 209, None),
    "recvfrom": (45, 207, None),
    "socketcall": (None, None, 102),
    "recvmmsg": (299, 243, 357),
    "prctl": (157, 167, 172),
    "sched_setscheduler": (144, 119, 156),
    "seccomp": (317, 277, 348),
}

NUMBERS: dict[str, int] = {
    name: number
    for name, row in _NUMBERS.items()
    if (number := row[_COLUMN]) is not None
}

# The first argument of socketcall(2), by call. The second one is a pointer, which a
# seccomp filter cannot follow.
SOCKETCALLS = {"socket": 1, "recvfrom": 12, "getsockopt": 15}  # linux/net.h
