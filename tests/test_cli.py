"""The command line: options, errors, help and imports."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import procconn
from procconn import EventMask
from procconn.cli import main
from procconn.cli.parser import make_parser
from procconn.pipeline.selection import Selection

LIFETIMES = EventMask.FORK | EventMask.EXEC | EventMask.EXIT | EventMask.UID


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dance"], "unknown subcommand 'dance'; choose from watch, stat, "),
        (["wach"], "unknown subcommand 'wach'; did you mean watch?"),
        (["watch", "--event=exec"], "unknown option --event; did you mean --events?"),
        (["trace", "--show-tre", "make"], "--show-tre; did you mean --show-tree?"),
        (["stat", "--nothing-alike"], "unknown option --nothing-alike\n"),
        (["watch", "-x"], "unknown option -x\n"),
        (["doctor", "now"], "unexpected argument 'now'"),
        (["watch", "--events", "exec,nap"], "unknown event 'nap'; choose from fork,"),
        (["watch", "--count", "0"], "'0' is not a positive integer"),
        (["watch", "--count", "x"], "'x' is not a positive integer"),
        (["watch", "--duration", "-1"], "'-1' is not a number of seconds"),
        (["watch", "--duration", "nan"], "'nan' is not a number of seconds"),
        (["watch", "--latency", "soon"], "'soon' is not a number of seconds"),
        (["watch", "--user", "no one"], "unknown user 'no one'"),
        (["watch", "--name", "("], "'(' is not a valid regular expression: missing )"),
        (["watch", "--pid", "self"], "'self' is not a process ID: give a number"),
        (["wait"], "required: PID"),
        (["trace"], "required: COMMAND"),
    ],
)
def test_usage_errors_exit_with_2_and_a_message(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        main(arguments)

    assert exited.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", ["watch --nothing", "record --events nap x", "wait", "trace", "ship"]
)
def test_usage_errors_show_the_usage_of_the_subcommand(
    arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments.split())

    name = arguments.partition(" ")[0]
    assert capsys.readouterr().err.startswith(f"usage: procconn {name} ")


def test_no_arguments_lists_each_subcommand_in_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as exited:
        main([])
    listed = re.findall(r"^    (\w+) +\S.*$", capsys.readouterr().err, re.MULTILINE)

    assert 2 == exited.value.code
    assert ["watch", "stat", "wait", "trace", "record", "ship", "doctor"] == listed


def test_version_is_that_of_the_package() -> None:
    command = Path(sys.executable).with_name("procconn")
    output = subprocess.check_output([command, "--version"], text=True)

    assert f"procconn {procconn.__version__}\n" == output


def test_module_runs_the_command() -> None:
    command = [sys.executable, "-m", "procconn", "--version"]

    assert f"procconn {procconn.__version__}\n" == subprocess.check_output(
        command, text=True
    )


def test_help_names_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["watch", "--help"])

    help_text = capsys.readouterr().out
    for option in (
        "--events",
        "--threads",
        "--count",
        "--duration",
        "--latency",
        "--json",
    ):
        assert option in help_text


SUBCOMMANDS = ["watch", "stat", "wait", "trace", "record", "doctor"]


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_help_is_short_and_has_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([name, "--help"])

    help_text = capsys.readouterr().out
    assert f"\nexample: procconn {name}" in help_text
    assert help_text.count("\n") < 40


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_imports_are_lazy(name: str) -> None:
    code = (
        "import sys, procconn\n"
        "assert not [m for m in sys.modules if m.startswith('procconn.cli')]\n"
        "from procconn.cli import main\n"
        "try:\n"
        f"    main(['{name}', '--help'])\n"
        "finally:\n"
        f"    assert 'procconn.cli.{name}' not in sys.modules\n"
        "    assert 'procconn.recording' not in sys.modules\n"
    )

    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("name", [*SUBCOMMANDS, "ship"])
def test_help_imports_only_the_options_of_the_subcommand(name: str) -> None:
    code = (
        "import sys\n"
        "from procconn.cli import main\n"
        "try:\n"
        f"    main(['{name}', '--help'])\n"
        "finally:\n"
        "    options = 'procconn.cli.options.'\n"
        "    loaded = {m for m in sys.modules if m.startswith(options)}\n"
        "    assert loaded == {"
        f"'procconn.cli.options.{name}', 'procconn.cli.options.shared'}}\n"
        "    assert 'procconn.processes' not in sys.modules\n"
    )

    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_subcommands_import_neither_asyncio_nor_numpy() -> None:
    modules = ", ".join(f"procconn.cli.{name}" for name in SUBCOMMANDS)
    code = (
        f"import sys, {modules}\nassert not {{'asyncio', 'numpy'}} & {{*sys.modules}}"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("text", "mask"),
    [
        ("exec,exit", EventMask.EXEC | EventMask.EXIT),
        ("nonzero_exit", EventMask.NONZERO_EXIT),
        ("Nonzero-Exit", EventMask.NONZERO_EXIT),
        ("all", EventMask.ALL),
    ],
)
def test_event_names_ignore_case_and_accept_underscores(
    text: str, mask: EventMask
) -> None:
    assert mask == make_parser().parse_args(["watch", "-e", text]).events


@pytest.mark.parametrize(
    ("arguments", "mask", "of_processes"),
    [
        ("-e comm", EventMask.COMM, False),
        ("-e exec -u 0", EventMask.EXEC, False),
        ("-e exec", EventMask.EXEC, False),
        ("--failed", LIFETIMES | EventMask.NONZERO_EXIT, True),
        ("-e exit", LIFETIMES, True),
        ("-e comm -n x", LIFETIMES | EventMask.COMM, True),
        ("-e comm -u 0", LIFETIMES | EventMask.COMM, True),
        ("-e sid --tree 1", LIFETIMES | EventMask.SID, True),
    ],
)
def test_kernel_mask_has_only_the_required_events(
    arguments: str, mask: EventMask, of_processes: bool
) -> None:
    options = make_parser().parse_args(["watch", *arguments.split()])
    selection = Selection.of(options)

    assert (mask, of_processes) == (selection.kernel_mask, selection.needs_context)
