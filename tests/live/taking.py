"""Programs of execs, taken as the stream does: from the thread that reads them."""

import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wiring import with_tail

from live.staging import DEADLINE
from procconn import EventMask, Exec, ProcConnector, Program, decode
from procconn._core import ffi, lib

MASK = EventMask.FORK | EventMask.EXEC | EventMask.EXIT
MESSAGE_SIZE = 76
WHAT_AT, PID_AT = 36, 52
LATENCY_NS = 1_000_000


def program_of(message: bytes, tail: bytes) -> Program:
    """Decode a tail behind the message of an EXEC."""
    (event,) = decode(with_tail(message, tail))
    assert isinstance(event, Exec)
    assert event.program is not None
    return event.program


class Taker:
    """A stream of forks, execs and exits, with the programs of the execs."""

    def __init__(self, receive_buffer: int = 8 << 20) -> None:
        self._connector = ProcConnector(MASK)
        place = ffi.new("struct procconn_programs *[1]")
        self.realtime = lib.procconn_programs_start(receive_buffer, LATENCY_NS, place)
        assert self.realtime >= 0
        self._programs = place[0]
        self._tail = ffi.new("uint8_t **")
        self._size = ffi.new("size_t *")
        self._held = b""
        self._drained_ns = 0

    def close(self) -> None:
        """End the reading and the subscription."""
        lib.procconn_programs_stop(self._programs)
        self._connector.close()

    def execs(
        self, is_last: Callable[[int, Program], bool]
    ) -> list[tuple[int, Program]]:
        """Take programs, with their pids, up to the last of those expected."""
        taken: list[tuple[int, Program]] = []
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            self._drain()
            if not self._held:
                continue
            what, pid = self._word(WHAT_AT), self._word(PID_AT)
            if what == EventMask.EXEC:
                program = self._take()
                if program is None:
                    continue
                taken.append((pid, program))
            self._held = self._held[MESSAGE_SIZE:]
            if what == EventMask.EXEC and is_last(*taken[-1]):
                return taken
        raise AssertionError(f"the last exec never came; the rest: {taken[-20:]}")

    def _word(self, offset: int) -> int:
        (word,) = struct.unpack_from("=I", self._held, offset)
        assert isinstance(word, int)
        return word

    def _drain(self) -> None:
        timeout = 0.0 if self._held else 0.05
        while raw := self._connector.recv_raw(timeout=timeout):
            self._held += raw
            timeout = 0
        self._drained_ns = time.monotonic_ns() - LATENCY_NS // 10

    def _take(self) -> Program | None:
        messages = ffi.from_buffer("uint8_t[]", self._held)
        again_ns = lib.procconn_programs_take(
            self._programs,
            messages,
            len(self._held),
            self._drained_ns,
            self._tail,
            self._size,
        )
        if again_ns:
            time.sleep(max(0, again_ns - time.monotonic_ns()) / 1e9)
            return None
        tail = ffi.buffer(self._tail[0], self._size[0])[:]
        return program_of(self._held[:MESSAGE_SIZE], tail)


@contextmanager
def taker(receive_buffer: int = 8 << 20) -> Iterator[Taker]:
    taking = Taker(receive_buffer)
    try:
        yield taking
    finally:
        taking.close()


def read_executed(pid: int) -> Program:
    """Read a process as the thread does right behind an EXEC."""
    tail = ffi.new("uint8_t[]", lib.PROCCONN_TAIL_ROOM)
    reading = ffi.new("struct procconn_reading *")
    lib.procconn_read_executed(pid, tail, reading)
    message = struct.pack("=IHHIIIIIIHH", 0, 3, 0, 0, 0, 1, 1, 0, 0, 40, 0)
    message += struct.pack("=IIQII16x", EventMask.EXEC, 0, 0, pid, pid)
    return program_of(message, ffi.buffer(tail, reading.size)[:])
