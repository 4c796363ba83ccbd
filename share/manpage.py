"""The man page, in roff with the macros of man(7)."""

from collections.abc import Iterator

from vocabulary import Option, Subcommand, general, subcommands

from procconn import __version__

_BEGIN = r"""
.\" Made of the command's parser by share/generate.py: do not edit.
.TH PROCCONN 1 "" "procconn {version}" "User Commands"
.SH NAME
procconn \- process events from the Linux kernel's Proc Connector
.SH SYNOPSIS
"""

_DESCRIPTION = r"""
.SH DESCRIPTION
The kernel reports every fork, exec and exit to its listeners, and changes of
IDs, sessions, tracers and names.
.B procconn
shows them: as lines, as JSON, as statistics, as pictures.
A command that it could not read in time is shown as a question mark with the reason,
never as that of another process; what the kernel had to drop is counted and reported.
.PP
It works in the initial network, pid and user namespaces.
Before Linux 6.6 it takes CAP_NET_ADMIN.
.B procconn doctor
says whether anything is in the way, and what to do about it.
"""

_END = r"""
.SH EXIT STATUS
.TP
.B 0
All went well.
Ctrl\-C and SIGTERM end
.BR watch ", " stat " and " record
with this status, too.
.TP
.B 1
.B doctor
has found a problem.
.TP
.B 2
It failed, and has said why, or was not called rightly.
.TP
.BR 124 ", " 127
The time of
.B wait
was up; one of its processes is not there.
.TP
.B 128 + number
A signal ended it.
.PP
.B trace
and
.B wait
otherwise have the status of the command, and of the process that ended last.
.SH FILES
Where a file is named,
.B \-
stands for standard input or output.
.PP
A file that is created has mode 0600, as command lines may contain secrets; an existing
file keeps its mode.
No symbolic link is followed in a directory that other users may write to.
.B \-\-output
empties the file and then appends.
.SH SIGNALS
SIGHUP reopens the file of
.BR \-\-output ,
without emptying it, unless standard output is a terminal.
.PP
In a script, a command that is started with
.B &
ignores SIGINT; end it with SIGTERM.
.SH ENVIRONMENT
.TP
.B NO_COLOR
If it is set and not empty, nothing is coloured; neither where
.B TERM
is
.BR dumb .
.SH SEE ALSO
.BR strace (1),
.BR proc (5),
.BR capabilities (7),
.BR netlink (7)
.PP
Recordings are nanosecond pcap files of netlink messages, which
.BR tshark (1)
opens.
"""


def page() -> str:
    """Make the page."""
    each = list(subcommands())
    parts = [
        _BEGIN.removeprefix("\n").replace("{version}", __version__),
        *_synopsis(each),
        _DESCRIPTION.removeprefix("\n"),
        ".SH OPTIONS\n",
        *_options(general()),
        ".SH COMMANDS\n",
    ]
    for it in each:
        parts += _section(it)
    parts.append(_END.removeprefix("\n"))
    return "".join(parts)


def _synopsis(each: list[Subcommand]) -> Iterator[str]:
    for number, it in enumerate(each):
        yield (".br\n" if number else "") + f".B procconn {it.name}\n"
        yield f"{_usage(it)}\n"


def _usage(command: Subcommand) -> str:
    parts = [r"[\fIOPTION\fR]...\&"] if command.options else []
    if command.argument:
        dots = r"...\&" if command.repeated else ""
        parts.append(rf"\fI{command.argument}\fR{dots}")
    return " ".join(parts)


def _section(command: Subcommand) -> Iterator[str]:
    yield f".SS procconn {command.name} {_usage(command)}\n"
    yield _text(command.text)
    yield from _options(command.options)
    yield f".PP\nExample:\n.PP\n.EX\n    {_escaped(command.example)}\n.EE\n"


def _options(options: tuple[Option, ...]) -> Iterator[str]:
    group = ""
    for option in options:
        if option.group != group:
            yield f".PP\n{_text(option.group.capitalize() + ':')}"
            group = option.group
        flags = ", ".join(rf"\fB{_escaped(flag)}\fR" for flag in option.flags)
        value = rf" \fI{option.value}\fR" if option.value else ""
        yield f".TP\n{flags}{value}\n{_text(option.text)}"


def _text(text: str) -> str:
    """Write running text; a sentence that ends at a line's end is one for roff, too."""
    escaped = _escaped(" ".join(text.split())).replace(". ", ".\n")
    return "".join(
        rf"\&{line}" if line.startswith((".", "'")) else line
        for line in f"{escaped}\n".splitlines(keepends=True)
    )


def _escaped(text: str) -> str:
    return text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
