"""What the command says before it touches the kernel."""

import subprocess
import sys
from pathlib import Path

import pytest

import procconn
from procconn.cli import main


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "required: COMMAND"),
        (["dance"], "invalid choice: 'dance'"),
        (["watch", "--events", "exec,nap"], "unknown event 'nap'; choose from fork,"),
        (["watch", "--count", "0"], "'0' is not a whole number from 1 on"),
        (["watch", "--count", "x"], "'x' is not a whole number from 1 on"),
        (["watch", "--duration", "-1"], "'-1' is not a number of seconds"),
        (["watch", "--duration", "nan"], "'nan' is not a number of seconds"),
        (["watch", "--latency", "soon"], "'soon' is not a number of seconds"),
    ],
)
def test_usage_errors_exit_with_2_and_say_what_is_wrong(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ending:
        main(arguments)

    assert ending.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("command", ["watch --count 1", "doctor"])
def test_a_closed_standard_output_is_an_error(command: str) -> None:
    program = Path(sys.executable).with_name("procconn")
    result = subprocess.run(
        ["sh", "-c", f"exec {program} {command} >&-"],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )

    assert 2 == result.returncode
    assert result.stderr.startswith("procconn: standard output is closed")
    assert 1 == result.stderr.count("\n")


def test_version_is_the_packages() -> None:
    command = Path(sys.executable).with_name("procconn")
    output = subprocess.check_output([command, "--version"], text=True)

    assert f"procconn {procconn.__version__}\n" == output


def test_the_module_runs_the_command() -> None:
    command = [sys.executable, "-m", "procconn", "--version"]

    assert f"procconn {procconn.__version__}\n" == subprocess.check_output(
        command, text=True
    )


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
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
