"""What all tests share."""

import gc
import signal

import pytest
from hypothesis import HealthCheck, settings

# A shell ignores these for what it starts in the background, and nohup another one, and
# so would the programs that tests send them to. Those do not inherit a handler.
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)

# How long an example takes is the machine's business.
settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")


def pytest_collection_finish() -> None:
    """Keep what is loaded out of the collections that many tests ask for."""
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-live",
        action="store_true",
        help="fail, rather than skip, where the kernel gives no process events",
    )
