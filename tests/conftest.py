"""What all tests share."""

import signal

import pytest

# A shell ignores it for what it starts in the background, and so would the programs
# that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-live",
        action="store_true",
        help="fail, rather than skip, where the kernel gives no process events",
    )
