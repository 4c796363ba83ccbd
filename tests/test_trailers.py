"""Trailers that the library attaches to events: programs and usages."""

import copy
import gc
import pickle
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builders import event_message, program_trailer, usage_trailer, with_trailer
from support.messages import (
    EXEC_WITH_PROGRAM,
    EXIT_WITH_USAGE,
    PROGRAM,
    SAMPLES,
    USAGE,
)

import procconn
from procconn import (
    Event,
    Exec,
    Exit,
    NetlinkMessageIter,
    Program,
    TruncatedError,
    Usage,
    decode,
    parse_netlink_message,
)

EXEC = SAMPLES["exec"].message
EXIT = SAMPLES["exit"].message
NOTHING = (None,) * 5
ID = "0123456789abcdef" * 4
OTHER_ID = "fedcba9876543210" * 4

both = pytest.mark.parametrize(
    ("message", "attached"),
    [(EXEC_WITH_PROGRAM, PROGRAM), (EXIT_WITH_USAGE, USAGE)],
    ids=["program", "usage"],
)


def attached(message: bytes) -> Program | Usage | None:
    (event,) = decode(message)
    match event:
        case Exec():
            return event.program
        case Exit():
            return event.usage
    pytest.fail(f"{event} can have nothing attached")


def program(*texts: bytes | None, flags: int = 0) -> Program:
    found = attached(with_trailer(EXEC, program_trailer(*texts, flags=flags)))
    assert isinstance(found, Program)
    return found


def is_damaged(message: bytes) -> bool:
    try:
        decode(message)
    except TruncatedError as error:
        return error.__notes__ == [
            "At byte 0: the event's fields are incomplete or do not add up."
        ]
    return False


def of(cgroup: str | None, *, argv: tuple[str, ...] | None = None) -> Program:
    return PROGRAM._replace(cgroup=cgroup, argv=argv)


# Whole ones


@both
def test_event_carries_what_is_attached(
    message: bytes, attached: Program | Usage
) -> None:
    name = "exec" if isinstance(attached, Program) else "exit"
    plain = SAMPLES[name].event
    (event,) = decode(message)

    assert (*tuple(plain)[:-1], attached) == tuple(event)
    assert type(attached) is type(event[-1])
    assert event == parse_netlink_message(message)
    assert [event] == list(NetlinkMessageIter(message))
    assert str(plain) == str(event)
    assert plain != event


def test_events_without_a_trailer_have_nothing_attached() -> None:
    assert attached(EXEC) is None
    assert attached(EXIT) is None


@both
def test_next_message_is_found_behind_a_trailer(
    message: bytes, attached: Program | Usage
) -> None:
    _, event = decode(message + bytes(-len(message) % 4) + EXEC)

    assert SAMPLES["exec"].event == event


@both
def test_event_with_a_trailer_survives_pickling_and_copying(
    message: bytes, attached: Program | Usage
) -> None:
    (event,) = decode(message)

    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert event == pickle.loads(pickle.dumps(event, protocol))
    assert [event] * 2 == [copy.copy(event), copy.deepcopy(event)]
    assert len({event, copy.deepcopy(event)}) == 1


@both
def test_event_with_a_trailer_is_none_of_the_collectors_business(
    message: bytes, attached: Program | Usage
) -> None:
    """It refers to nothing that could refer to it."""
    (event,) = decode(message)
    own = event[-1]

    assert not gc.is_tracked(event)
    assert not gc.is_tracked(own)
    if isinstance(own, Program):
        assert not gc.is_tracked(own.argv)
    gc.collect()
    assert attached == own


@pytest.mark.parametrize(
    ("raw", "argv"),
    [
        (None, None),
        (b"", ()),
        (b"\0", ("",)),
        (b"\0\0", ("", "")),
        (b"a", ("a",)),
        (b"a\0", ("a",)),
        (b"a\0b", ("a", "b")),
        (b"a\0\0", ("a", "")),
        (b"\0a\0\0b\0", ("", "a", "", "b")),
        (b"\xff\0\xc3\xa4\0", ("\udcff", "ä")),
        (b"x" * 49_152, ("x" * 49_152,)),
        (b"\0" * 49_152, ("",) * 49_152),
    ],
)
def test_arguments_are_what_ends_with_a_nul(
    raw: bytes | None, argv: tuple[str, ...] | None
) -> None:
    assert argv == program(raw, *NOTHING[1:]).argv


@pytest.mark.parametrize(
    ("flags", "cut", "missing"),
    [
        (0x000, False, ""),
        (0x001, True, ""),
        (0x100, False, "later"),
        (0x201, True, "gone"),
        (0x300, False, "denied"),
        (0x400, False, "busy"),
        (0x500, False, "held"),
        (0x600, False, "changed"),
        (0x700, False, "late"),
        (0x800, False, "limit"),
        (0xF0FE, False, ""),
    ],
)
def test_flags_say_what_is_missing_and_why(flags: int, cut: bool, missing: str) -> None:
    found = program(*NOTHING, flags=flags)

    assert (cut, missing) == (found.cut, found.missing)


@pytest.mark.parametrize("version", [1, 2])
def test_version_1_is_read_too(version: int) -> None:
    texts = [b"sh\0", b"sh", b"/bin/sh", b"/", b"/group"]
    trailer = program_trailer(*texts, flags=0x400, version=version)

    (event,) = decode(with_trailer(EXEC, trailer))

    assert isinstance(event, Exec)
    assert event.program is not None
    assert (("sh",), "busy") == (event.program.argv, event.program.missing)


def test_version_1_has_fewer_reasons() -> None:
    with pytest.raises(TruncatedError):
        decode(with_trailer(EXEC, program_trailer(*NOTHING, flags=0x500, version=1)))


def test_texts_are_told_apart_by_their_sizes() -> None:
    texts = [b"arg\0", b"name", b"", b"/", b"/group"]

    found = program(*texts)

    assert (("arg",), "name", "", "/", "/group") == (
        found.argv,
        found.name,
        found.exe,
        found.cwd,
        found.cgroup,
    )
    assert (1, 2, 3, 4, 5) == (
        found.ppid,
        found.uid,
        found.euid,
        found.gid,
        found.egid,
    )


def test_ids_that_are_not_known_are_none() -> None:
    trailer = program_trailer(*NOTHING, ids=(0xFFFFFFFF,) * 5)

    assert (None,) * 9 == tuple(attached(with_trailer(EXEC, trailer)) or ())[:9]


@pytest.mark.parametrize("value", [0, 1, 2**63, 2**64 - 2])
def test_usage_takes_any_value_but_the_largest(value: int) -> None:
    known = attached(with_trailer(EXIT, usage_trailer(*[value] * 13)))
    unknown = attached(with_trailer(EXIT, usage_trailer(*[2**64 - 1] * 13)))

    assert [(value,) * 13, (None,) * 13] == [known, unknown]


@given(
    st.tuples(*[st.none() | st.binary(max_size=60)] * 5),
    st.tuples(*[st.integers(0, 2**32 - 1)] * 5),
)
def test_texts_lead_back_to_their_bytes(
    texts: tuple[bytes | None, ...], ids: tuple[int, ...]
) -> None:
    found = attached(with_trailer(EXEC, program_trailer(*texts, ids=ids)))

    assert isinstance(found, Program)
    shown = [found.name, found.exe, found.cwd, found.cgroup]
    assert [*texts[1:]] == [
        None if text is None else text.encode("utf-8", "surrogateescape")
        for text in shown
    ]
    if found.argv is None:
        assert texts[0] is None
    else:
        joined = "".join(f"{argument}\0" for argument in found.argv)
        assert texts[0] is not None
        assert joined.encode("utf-8", "surrogateescape") in (
            texts[0],
            texts[0] + b"\0",
        )


# What is not the library's


@pytest.mark.parametrize(
    "trailer",
    [
        pytest.param(b"x", id="a byte"),
        pytest.param(bytes(40), id="zeros"),
        pytest.param(program_trailer(*NOTHING)[:5], id="magic and half a version"),
        pytest.param(program_trailer(*NOTHING, version=3), id="a later version"),
        pytest.param(program_trailer(*NOTHING, version=0), id="no version"),
        pytest.param(program_trailer(*NOTHING, magic=0x636E7068), id="another magic"),
        pytest.param(usage_trailer(*range(13)), id="a usage"),
    ],
)
def test_longer_union_of_a_newer_kernel_is_no_program(trailer: bytes) -> None:
    assert [SAMPLES["exec"].event] == decode(with_trailer(EXEC, trailer))


@pytest.mark.parametrize(
    "trailer",
    [
        pytest.param(bytes(112), id="zeros"),
        pytest.param(usage_trailer(*range(13))[:5], id="magic and half a version"),
        pytest.param(usage_trailer(*range(13), version=2), id="a later version"),
        pytest.param(usage_trailer(*range(13), magic=0), id="another magic"),
        pytest.param(program_trailer(*NOTHING), id="a program"),
    ],
)
def test_longer_union_of_a_newer_kernel_is_no_usage(trailer: bytes) -> None:
    assert [SAMPLES["exit"].event] == decode(with_trailer(EXIT, trailer))


@pytest.mark.parametrize("name", [n for n in SAMPLES if n not in ("exec", "exit")])
def test_other_kinds_have_nothing_attached(name: str) -> None:
    for trailer in (program_trailer(*NOTHING), usage_trailer(*range(13))):
        assert [SAMPLES[name].event] == decode(
            with_trailer(SAMPLES[name].message, trailer)
        )


def test_trailer_begins_behind_a_whole_union_only() -> None:
    message = event_message(0x2, struct.pack("=2I", 1, 2) + program_trailer(*NOTHING))

    assert attached(message) is None


# Damaged ones


def test_every_prefix_of_a_program_is_damaged() -> None:
    trailer = EXEC_WITH_PROGRAM[76:]
    for size in range(6, len(trailer)):
        assert is_damaged(with_trailer(EXEC, trailer[:size])), size


def test_every_prefix_of_a_usage_is_damaged() -> None:
    trailer = EXIT_WITH_USAGE[76:]
    for size in range(6, len(trailer)):
        assert is_damaged(with_trailer(EXIT, trailer[:size])), size


@both
def test_more_than_a_trailer_is_damaged(
    message: bytes, attached: Program | Usage
) -> None:
    assert is_damaged(with_trailer(message, b"\0"))


def test_texts_longer_than_their_limits_are_damaged() -> None:
    for number, limit in enumerate((49_152, 4096, 4096, 4096, 4096)):
        texts: list[bytes | None] = [*NOTHING]
        texts[number] = b"x" * limit
        assert not is_damaged(with_trailer(EXEC, program_trailer(*texts)))

        texts[number] = b"x" * (limit + 1)
        assert is_damaged(with_trailer(EXEC, program_trailer(*texts)))


def test_sizes_that_add_up_to_the_right_sum_only_when_cut_off_are_damaged() -> None:
    """49,152 and four times 4,096 bytes are 65,536, 0 in 16 bits."""
    header = bytearray(program_trailer(*NOTHING))
    header[28:38] = struct.pack("=5H", 49_152, 4096, 4096, 4096, 4096)

    assert is_damaged(with_trailer(EXEC, bytes(header)))


@pytest.mark.parametrize("reason", range(9, 16))
def test_reasons_that_there_are_not_are_damaged(reason: int) -> None:
    trailer = program_trailer(*NOTHING, flags=reason << 8)

    assert is_damaged(with_trailer(EXEC, trailer))


def test_damaged_trailer_keeps_what_comes_before_and_behind() -> None:
    damaged = with_trailer(EXEC, program_trailer(*NOTHING) + bytes(4))
    messages = NetlinkMessageIter(EXIT + damaged + EXIT)
    found: list[Event | None] = [next(messages)]

    with pytest.raises(TruncatedError):
        next(messages)
    found.extend(messages)

    assert [SAMPLES["exit"].event] * 2 == found


# The types


def test_types_are_found_where_pickle_looks_for_them() -> None:
    assert ("procconn.programs", "procconn.programs") == (
        Program.__module__,
        Usage.__module__,
    )
    assert (procconn.Program, procconn.Usage) == (Program, Usage)


def test_fields_have_their_names_and_order() -> None:
    program = "argv name exe cwd ppid uid euid gid egid cgroup cut missing"
    usage = (
        "cpu_ns user_ns system_ns peak_rss read_bytes write_bytes read_chars"
        " write_chars minor_faults major_faults switches involuntary_switches"
        " elapsed_ns"
    )

    assert [program.split(), usage.split()] == [[*Program._fields], [*Usage._fields]]


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (None, ""),
        ((), ""),
        (("true",), "true"),
        (("sh", "-c", "exit 3"), "sh -c 'exit 3'"),
        (("a", "", "it's"), "a '' 'it'\"'\"'s'"),
    ],
)
def test_command_is_what_one_would_type(
    argv: tuple[str, ...] | None, command: str
) -> None:
    assert command == of(None, argv=argv).command


@pytest.mark.parametrize(
    "cgroup",
    [
        f"/docker/{ID}",
        f"/system.slice/docker-{ID}.scope",
        f"/system.slice/docker-{ID}.scope/init.scope",
        f"/kubepods/burstable/pod4a5b-c6/{ID}",
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod4a5b.slice"
        f"/cri-containerd-{ID}.scope",
        f"/system.slice/containerd.service/kubepods-pod4a5b.slice:cri-containerd:{ID}",
        f"/kubepods.slice/kubepods-pod4a5b.slice/crio-{ID}.scope",
        f"/kubepods.slice/kubepods-pod4a5b.slice/crio-{ID}.scope/container",
        f"/kubepods/pod4a5b/crio-{ID}",
        f"/machine.slice/libpod-{ID}.scope/container",
        f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope",
        f"/machine.slice/machine-libpod_pod_{OTHER_ID}.slice/libpod-{ID}.scope",
        f"/libpod_parent/libpod-{ID}",
        f"/docker/{OTHER_ID}/docker/{ID}",
    ],
)
def test_container_is_the_id_in_the_control_group(cgroup: str) -> None:
    assert ID == of(cgroup).container


@pytest.mark.parametrize(
    "cgroup",
    [
        None,
        "",
        "/",
        "/system.slice/ssh.service",
        f"/system.slice/{ID[:-1]}.scope",
        f"/system.slice/docker-{ID}0.scope",
        f"/system.slice/docker-{ID.upper()}.scope",
        f"/system.slice/docker-{ID}.service",
        f"/machine.slice/libpod-conmon-{ID}.scope",
        f"/kubepods.slice/crio-conmon-{ID}.scope",
        f"/machine.slice/machine-libpod_pod_{ID}.slice",
    ],
)
def test_elsewhere_there_is_no_container(cgroup: str | None) -> None:
    assert of(cgroup).container is None
