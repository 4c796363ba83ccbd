"""The sources stand in layers, and each part of a stream is written by one file."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[1] / "csrc"
LAYERS = ("wire", "system", "netlink", "proc", "programs", "usage", "stream", "python")
"""Each may include its own headers and those of the folders before it."""

MOST_FILES, MOST_LINES = 12, 250

PACKAGE = Path(__file__).parents[1] / "procconn"
PACKAGES = ("", "processes", "recording", "pipeline", "cli ship")
"""Each may import those before it; "" is the modules beside them."""

PARTS = {  # struct: its file and the header beside it
    "buffer": "stream/buffer",
    "drain": "stream/drain",
    "failure": "stream/failure",
    "heartbeat": "stream/heartbeat",
    "lifecycle": "stream/lifecycle",
    "loss": "stream/loss",
    "pacing": "stream/pacing",
    "readiness": "stream/readiness",
    "trailers": "stream/trailers",
    "batch": "netlink/batch",
    "event_socket": "netlink/events",
    "subscription": "netlink/subscription",
}
ASSIGNED = r"(?:\[[^]]*\])?(?:\.\w+)*\s*(?:[-+*/|&^]?=[^=]|\+\+|--)"
CHANGED = (
    r"(?:atomic_(?:store|exchange|fetch_\w+|compare_exchange_\w+)\w*\(&|(?:\+\+|--))"
)

takes_c_sources = pytest.mark.skipif(not CSRC.is_dir(), reason="takes the C sources")
takes_modules = pytest.mark.skipif(
    not PACKAGE.is_dir(), reason="takes the Python sources"
)


def sources() -> Iterator[tuple[str, str]]:
    for path in sorted(CSRC.glob("*/*.[ch]")):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
        yield str(path.relative_to(CSRC)), text


def included(text: str) -> list[str]:
    return re.findall(r'^#include "(.+)"', text, re.MULTILINE)


@takes_c_sources
def test_every_folder_is_a_layer() -> None:
    assert set(LAYERS) == {path.name for path in CSRC.iterdir() if path.is_dir()}


@takes_c_sources
def test_nothing_lower_includes_anything_higher() -> None:
    upward = [
        (name, header)
        for name, text in sources()
        for header in included(text)
        if "/" in header
        and LAYERS.index(header.split("/")[0]) > LAYERS.index(name.split("/")[0])
    ]

    assert [] == upward
    assert any("/" in header for _, text in sources() for header in included(text))


@takes_c_sources
def test_only_one_folder_knows_python() -> None:
    knowing = {name.split("/")[0] for name, text in sources() if "<Python.h>" in text}

    assert {"python"} == knowing


@takes_c_sources
@pytest.mark.parametrize("folder", LAYERS)
def test_folders_and_files_are_small(folder: str) -> None:
    files = list((CSRC / folder).glob("*.c"))

    assert 1 <= len(files) <= MOST_FILES
    for path in files:
        assert len(path.read_text().splitlines()) <= MOST_LINES, path


def members() -> dict[str, set[str]]:
    """Name the stream's members of each part, such as `queue` and `staging`."""
    (struct,) = re.findall(
        r"^struct procconn_stream \{(.*?)^\};",
        (CSRC / "stream/stream.h").read_text(),
        re.DOTALL | re.MULTILINE,
    )
    names: dict[str, set[str]] = {}
    for part, name in re.findall(r"struct (\w+) (\w+);", struct):
        names.setdefault(part, set()).add(name)
    return names


def changes(part: str, text: str) -> list[str]:
    """List where a file changes a field of a part itself."""
    pointers = set(re.findall(rf"struct {part} \*(\w+)", text))
    paths = [rf"->{name}\.(\w+)" for name in members().get(part, ())]
    paths += [rf"\b{name}->(\w+)" for name in pointers]
    found = []
    for path in paths:
        found += re.findall(rf".*{path}{ASSIGNED}", text)
        found += re.findall(rf"{CHANGED}[\w.>-]*?{path}", text)
    return found


@takes_c_sources
@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_written_by_one_file(part: str) -> None:
    owner = PARTS[part]
    changed = {
        name: found
        for name, text in sources()
        if name.rpartition(".")[0] != owner and (found := changes(part, text))
    }

    assert {} == changed
    assert any(
        changes(part, text)
        for name, text in sources()
        if name.rpartition(".")[0] == owner
    )


@takes_c_sources
def test_every_part_of_a_stream_has_an_owner() -> None:
    plain = {"procconn_view", "procconn_settings"}

    assert set(members()) - plain <= set(PARTS)


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name != "__main__.py":  # which starts the command
            yield path, ast.parse(path.read_text())


def imported(path: Path, module: ast.Module) -> Iterator[str]:
    """Name the modules of the package that one imports, also within functions."""
    package = path.relative_to(PACKAGE.parent).parent.parts
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1] if node.level else ())
            base += [node.module] if node.module else []
            # What is taken from a package may be a module of it.
            names = [".".join([*base, alias.name]) for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "procconn")


def package_of(name: str) -> str:
    """Return the folder that a module is in; "" beside all folders."""
    _, folder, *_ = [*name.split("."), ""]
    return folder if (PACKAGE / folder).is_dir() else ""


def layer_of(package: str) -> int:
    (layer,) = (at for at, it in enumerate(PACKAGES) if package in it.split(" "))
    return layer


@takes_modules
def test_every_package_is_in_a_layer() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}

    assert packages | {""} == {it for them in PACKAGES for it in them.split(" ")}


@takes_modules
@pytest.mark.parametrize("package", " ".join(PACKAGES).split(" "), ids=repr)
def test_a_package_imports_itself_and_lower_ones(package: str) -> None:
    found = [
        (str(path.relative_to(PACKAGE)), name, package_of(name))
        for path, module in modules()
        if package_of(".".join(path.relative_to(PACKAGE.parent).parts)) == package
        for name in imported(path, module)
    ]

    assert [] == [
        it for it in found if it[2] != package and layer_of(it[2]) >= layer_of(package)
    ]
    assert found
