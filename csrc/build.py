"""Describe the C module to cffi; setup.py names `ffibuilder`."""

import re
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent

SOURCES = sorted(f"csrc/{path.name}" for path in HERE.glob("*.c"))
HEADERS = sorted(f"csrc/{path.name}" for path in HERE.glob("*.h"))

ffibuilder = FFI()
ffibuilder.cdef((HERE / "procconn.cdef").read_text())
for name in re.findall("^    ([A-Z_]+) =", (HERE / "wire.h").read_text(), re.MULTILINE):
    ffibuilder.cdef(f"#define {name} ...")
ffibuilder.set_source(
    "procconn._core",
    '#include "procconn.h"\n#include "wire.h"',
    sources=SOURCES,
    depends=["csrc/procconn.cdef", *HEADERS],
    include_dirs=["csrc"],
    extra_compile_args=["-std=c11", "-fvisibility=hidden", "-g0", "-pthread"],
    extra_link_args=["-pthread"],
)
