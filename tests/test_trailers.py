"""Trailers that the library appends to events: programs and usages."""

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
    ("message", "value"),
    [(EXEC_WITH_PROGRAM, PROGRAM), (EXIT_WITH_USAGE, USAGE)],
    ids=["program", "usage"],
)


def decoded_trailer(message: bytes) -> Program | Usage | None:
    (event,) = decode(message)
    match event:
        case Exec():
            return event.program
        case Exit():
            return event.usage
    pytest.fail(f"{event} cannot have a trailer")


def program(*texts: bytes | None, flags: int = 0) -> Program:
    found = decoded_trailer(with_trailer(EXEC, program_trailer(*texts, flags=flags)))
    assert isinstance(found, Program)
    return found


def is_malformed(message: bytes) -> bool:
    try:
        decode(message)
    except TruncatedError as error:
        return error.__notes__ == [
            "At byte 0: the event's fields are incomplete or inconsistent."
        ]
    return False


def program_with(cgroup: str | None, *, argv: tuple[str, ...] | None = None) -> Program:
    return PROGRAM._replace(cgroup=cgroup, argv=argv)


# Complete trailers


@both
def test_event_has_the_value_of_its_trailer(
    message: bytes, value: Program | Usage
) -> None:
    name = "exec" if isinstance(value, Program) else "exit"
    plain = SAMPLES[name].event
    (event,) = decode(message)

    assert (*tuple(plain)[:-1], value) == tuple(event)
    assert type(value) is type(event[-1])
    assert event == parse_netlink_message(message)
    assert [event] == list(NetlinkMessageIter(message))
    assert str(plain) == str(event)
    assert plain != event


def test_events_without_a_trailer_have_no_program_or_usage() -> None:
    assert decoded_trailer(EXEC) is None
    assert decoded_trailer(EXIT) is None


@both
def test_message_after_a_trailer_is_decoded(
    message: bytes, value: Program | Usage
) -> None:
    _, event = decode(message + bytes(-len(message) % 4) + EXEC)

    assert SAMPLES["exec"].event == event


@both
def test_event_with_a_trailer_survives_pickling_and_copying(
    message: bytes, value: Program | Usage
) -> None:
    (event,) = decode(message)

    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert event == pickle.loads(pickle.dumps(event, protocol))
    assert [event] * 2 == [copy.copy(event), copy.deepcopy(event)]
    assert len({event, copy.deepcopy(event)}) == 1


@both
def test_garbage_collector_does_not_track_events_with_a_trailer(
    message: bytes, value: Program | Usage
) -> None:
    """They refer only to objects that cannot be part of a cycle."""
    (event,) = decode(message)
    decoded = event[-1]

    assert not gc.is_tracked(event)
    assert not gc.is_tracked(decoded)
    if isinstance(decoded, Program):
        assert not gc.is_tracked(decoded.argv)
    gc.collect()
    assert value == decoded


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
def test_arguments_end_at_a_nul(
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
def test_flags_encode_cut_and_missing(flags: int, cut: bool, missing: str) -> None:
    found = program(*NOTHING, flags=flags)

    assert (cut, missing) == (found.cut, found.missing)


@pytest.mark.parametrize("version", [1, 2])
def test_all_versions_of_a_program_are_decoded(version: int) -> None:
    texts = [b"sh\0", b"sh", b"/bin/sh", b"/", b"/group"]
    trailer = program_trailer(*texts, flags=0x400, version=version)

    (event,) = decode(with_trailer(EXEC, trailer))

    assert isinstance(event, Exec)
    assert event.program is not None
    assert (("sh",), "busy") == (event.program.argv, event.program.missing)


def test_reasons_added_in_version_2_are_malformed_in_version_1() -> None:
    with pytest.raises(TruncatedError):
        decode(with_trailer(EXEC, program_trailer(*NOTHING, flags=0x500, version=1)))


def test_texts_are_delimited_by_their_sizes() -> None:
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


def test_unknown_ids_are_none() -> None:
    trailer = program_trailer(*NOTHING, ids=(0xFFFFFFFF,) * 5)

    assert (None,) * 9 == tuple(decoded_trailer(with_trailer(EXEC, trailer)) or ())[:9]


@pytest.mark.parametrize("value", [0, 1, 2**63, 2**64 - 2])
def test_largest_number_in_a_usage_means_unknown(value: int) -> None:
    known = decoded_trailer(with_trailer(EXIT, usage_trailer(*[value] * 13)))
    unknown = decoded_trailer(with_trailer(EXIT, usage_trailer(*[2**64 - 1] * 13)))

    assert [(value,) * 13, (None,) * 13] == [known, unknown]


@given(
    st.tuples(*[st.none() | st.binary(max_size=60)] * 5),
    st.tuples(*[st.integers(0, 2**32 - 1)] * 5),
)
def test_texts_round_trip_to_their_bytes(
    texts: tuple[bytes | None, ...], ids: tuple[int, ...]
) -> None:
    found = decoded_trailer(with_trailer(EXEC, program_trailer(*texts, ids=ids)))

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


# Longer unions of newer kernels


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
def test_longer_union_of_a_newer_kernel_is_not_a_program(trailer: bytes) -> None:
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
def test_longer_union_of_a_newer_kernel_is_not_a_usage(trailer: bytes) -> None:
    assert [SAMPLES["exit"].event] == decode(with_trailer(EXIT, trailer))


@pytest.mark.parametrize("name", [n for n in SAMPLES if n not in ("exec", "exit")])
def test_other_kinds_have_no_trailer(name: str) -> None:
    for trailer in (program_trailer(*NOTHING), usage_trailer(*range(13))):
        assert [SAMPLES[name].event] == decode(
            with_trailer(SAMPLES[name].message, trailer)
        )


def test_trailer_must_follow_a_complete_union() -> None:
    message = event_message(0x2, struct.pack("=2I", 1, 2) + program_trailer(*NOTHING))

    assert decoded_trailer(message) is None


# Malformed trailers


def test_every_prefix_of_a_program_is_malformed() -> None:
    trailer = EXEC_WITH_PROGRAM[76:]
    for size in range(6, len(trailer)):
        assert is_malformed(with_trailer(EXEC, trailer[:size])), size


def test_every_prefix_of_a_usage_is_malformed() -> None:
    trailer = EXIT_WITH_USAGE[76:]
    for size in range(6, len(trailer)):
        assert is_malformed(with_trailer(EXIT, trailer[:size])), size


@both
def test_bytes_after_a_trailer_are_malformed(
    message: bytes, value: Program | Usage
) -> None:
    assert is_malformed(with_trailer(message, b"\0"))


def test_texts_longer_than_their_limits_are_malformed() -> None:
    for number, limit in enumerate((49_152, 4096, 4096, 4096, 4096)):
        texts: list[bytes | None] = [*NOTHING]
        texts[number] = b"x" * limit
        assert not is_malformed(with_trailer(EXEC, program_trailer(*texts)))

        texts[number] = b"x" * (limit + 1)
        assert is_malformed(with_trailer(EXEC, program_trailer(*texts)))


def test_sizes_whose_sum_overflows_16_bits_are_malformed() -> None:
    """49,152 and four times 4,096 are 65,536, which is 0 in 16 bits."""
    header = bytearray(program_trailer(*NOTHING))
    header[28:38] = struct.pack("=5H", 49_152, 4096, 4096, 4096, 4096)

    assert is_malformed(with_trailer(EXEC, bytes(header)))


@pytest.mark.parametrize("reason", range(9, 16))
def test_unknown_reasons_are_malformed(reason: int) -> None:
    trailer = program_trailer(*NOTHING, flags=reason << 8)

    assert is_malformed(with_trailer(EXEC, trailer))


def test_messages_around_a_malformed_trailer_are_decoded() -> None:
    malformed = with_trailer(EXEC, program_trailer(*NOTHING) + bytes(4))
    messages = NetlinkMessageIter(EXIT + malformed + EXIT)
    found: list[Event | None] = [next(messages)]

    with pytest.raises(TruncatedError):
        next(messages)
    found.extend(messages)

    assert [SAMPLES["exit"].event] * 2 == found


# Program and Usage


def test_types_are_exported_and_name_the_module_that_pickle_imports() -> None:
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
def test_command_is_shell_quoted(argv: tuple[str, ...] | None, command: str) -> None:
    assert command == program_with(None, argv=argv).command


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
def test_container_is_the_id_in_the_cgroup(cgroup: str) -> None:
    assert ID == program_with(cgroup).container


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
def test_other_cgroups_have_no_container(cgroup: str | None) -> None:
    assert program_with(cgroup).container is None
