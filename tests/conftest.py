"""What all tests share."""

import gc
import json
import os
import platform
import pwd
import signal
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from procconn.processes import exits

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


@pytest.fixture(scope="module", autouse=True)
def _made_events_are_of_linux_6(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests of made events know how processes end from Linux 6.0 on."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.parent == Path(__file__).parent:
            patch.setattr(exits, "_LAST_THREAD_COUNTS", True)
        yield


def pytest_collection_finish() -> None:
    """Keep what is loaded out of the collections that many tests ask for."""
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-live",
        action="store_true",
        help="fail, rather than skip, where the kernel gives no process events",
    )


def _c_library() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or "?"
    except (OSError, ValueError):
        return "musl"


def _python() -> str:
    free_threaded = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    return f"{platform.python_version()}{free_threaded}"


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say where the tests ran; note it in the file that the environment names.

    tests/support/platforms.py makes a table of what whole suites have noted.
    """
    counts = {
        outcome: len(terminalreporter.getreports(outcome))
        for outcome in ("passed", "failed", "error", "skipped")
    }
    ran: dict[str, str | int] = {
        "kernel": platform.release(),
        "processor": platform.machine(),
        "libc": _c_library(),
        "python": _python(),
        "user": pwd.getpwuid(os.geteuid()).pw_name,
    }
    terminalreporter.line("on " + ", ".join(map(str, ran.values())))
    place = os.environ.get("PROCCONN_RESULTS")
    some = config.args_source is pytest.Config.ArgsSource.ARGS or config.option.keyword
    if place and (not some or os.environ.get("PROCCONN_ALONE")):
        Path(place).parent.mkdir(exist_ok=True)
        with Path(place).open("a") as results:
            results.write(json.dumps(ran | counts) + "\n")
