"""The two things pyproject.toml cannot say: the C module and the wheel's tag."""

import sysconfig

from setuptools import setup

# Free-threaded Pythons have wheels of their own. Before 3.15 they have no stable ABI;
# the one of 3.15 serves the other builds of 3.15 too, but slower than cp311's, and pip
# would prefer it there.
free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

setup(
    cffi_modules=["csrc/build.py:ffibuilder"],
    options={} if free_threaded else {"bdist_wheel": {"py_limited_api": "cp311"}},
)
