"""Describe the C module to cffi; setup.py names `ffibuilder`."""

from pathlib import Path

from cffi import FFI

SOURCES = ["csrc/decode.c", "csrc/receive.c", "csrc/rows.c", "csrc/tuples.c"]

ffibuilder = FFI()
ffibuilder.cdef(Path(__file__).with_name("procconn.cdef").read_text())
ffibuilder.set_source(
    "procconn._core",
    '#include "procconn.h"',
    sources=SOURCES,
    depends=["csrc/procconn.cdef", "csrc/procconn.h", "csrc/decode.h", "csrc/wire.h"],
    include_dirs=["csrc"],
    extra_compile_args=["-std=c11", "-fvisibility=hidden", "-g0"],
)
