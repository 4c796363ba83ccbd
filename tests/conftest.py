"""Fixtures, options and the summary that all tests share."""

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

# A shell ignores SIGINT and SIGQUIT for background jobs, nohup ignores SIGHUP. Ignored
# signals stay ignored across exec; with these handlers, programs that tests start have
# the default action.
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)

# The time an example takes depends on the machine's load.
settings.register_profile(
    "no-deadline", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("no-deadline")


@pytest.fixture(scope="module", autouse=True)
def _built_events_follow_linux_6(request: pytest.FixtureRequest) -> Iterator[None]:
    """Apply the exit rules of Linux 6.0 and later to events that tests build."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.parent == Path(__file__).parent:
            patch.setattr(exits, "_LAST_THREAD_DECIDES", True)
        yield


def pytest_collection_finish() -> None:
    """Exempt loaded objects from the collections that many tests request."""
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-live",
        action="store_true",
        help="fail instead of skipping if the kernel delivers no process events",
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
    """Print the platform; append it and the counts to the file PROCCONN_RESULTS.

    Only runs of the whole suite are recorded; support/platforms.py tabulates them.
    """
    counts = {
        outcome: len(terminalreporter.getreports(outcome))
        for outcome in ("passed", "failed", "error", "skipped")
    }
    run: dict[str, str | int] = {
        "kernel": platform.release(),
        "processor": platform.machine(),
        "libc": _c_library(),
        "python": _python(),
        "user": pwd.getpwuid(os.geteuid()).pw_name,
    }
    terminalreporter.line("on " + ", ".join(map(str, run.values())))
    results_path = os.environ.get("PROCCONN_RESULTS")
    is_partial = (
        config.args_source is pytest.Config.ArgsSource.ARGS or config.option.keyword
    )
    if results_path and (not is_partial or os.environ.get("PROCCONN_ALONE")):
        Path(results_path).parent.mkdir(exist_ok=True)
        with Path(results_path).open("a") as results:
            results.write(json.dumps(run | counts) + "\n")
