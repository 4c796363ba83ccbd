"""Memory that ends at an inaccessible page: a read past its end crashes the process."""

import ctypes
import mmap

PROT_NONE = 0


class GuardedMemory:
    """A few pages, followed by a page with PROT_NONE."""

    SIZE = 4 * mmap.PAGESIZE

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, self.SIZE + mmap.PAGESIZE)
        libc = ctypes.CDLL(None, use_errno=True)
        guard = ctypes.c_char.from_buffer(self._memory, self.SIZE)
        address = ctypes.c_void_p(ctypes.addressof(guard))
        if libc.mprotect(address, ctypes.c_size_t(mmap.PAGESIZE), PROT_NONE) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")
        self._view = memoryview(self._memory)

    def place(self, data: bytes) -> memoryview:
        """Copy the data to the end of the memory, and return a view of the copy."""
        view = self._view[self.SIZE - len(data) : self.SIZE]
        view[:] = data
        return view

    def read_guard(self) -> int:
        """Read the first byte of the guard page."""
        return self._view[self.SIZE]
