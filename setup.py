"""The two things pyproject.toml cannot say: the C module and the wheel's tag."""

import sysconfig

from setuptools import setup

# Free-threaded Pythons before 3.15 have no stable ABI: build those plainly.
free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

setup(
    cffi_modules=["csrc/build.py:ffibuilder"],
    options={} if free_threaded else {"bdist_wheel": {"py_limited_api": "cp311"}},
)
