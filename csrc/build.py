"""Describe the C module to cffi; setup.py names `ffibuilder`."""

import re
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent

# Headers of functions without system calls, which tests call with plain numbers.
PURE = ("stream/loss.h", "stream/pacing.h")


def _named(pattern: str) -> list[str]:
    """Name files of this folder, and of those in it, as seen from the one above."""
    return sorted(str(path.relative_to(HERE.parent)) for path in HERE.rglob(pattern))


ffibuilder = FFI()
for declarations in ("procconn.cdef", "internals.cdef"):
    ffibuilder.cdef((HERE / declarations).read_text())
for header in PURE:
    text = (HERE / header).read_text()
    ffibuilder.cdef(re.sub("^#.*\n", "", text, flags=re.MULTILINE))
for header in ("wire/wire.h", "wire/packets.h"):
    text = (HERE / header).read_text()
    for name in re.findall("^    ([A-Z_]+) =", text, re.MULTILINE):
        ffibuilder.cdef(f"#define {name} ...")
HEADERS = ("internals.h", "wire/packets.h", "wire/wire.h", *PURE)
ffibuilder.set_source(
    "procconn._core",
    "\n".join(f'#include "{header}"' for header in HEADERS),
    sources=_named("*.c"),
    depends=[*_named("*.cdef"), *_named("*.h")],
    include_dirs=["csrc"],
    define_macros=[("_GNU_SOURCE", None)],
    extra_compile_args=["-std=c11", "-fvisibility=hidden", "-g0", "-pthread"],
    extra_link_args=["-pthread"],
)
