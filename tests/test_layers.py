"""Layers of the sources; each part of a stream is changed by one file only."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[1] / "csrc"
LAYERS = ("wire", "system", "netlink", "proc", "programs", "usage", "stream", "python")
"""Each directory may include its own headers and those of the ones before it."""

MOST_FILES, MOST_LINES = 12, 250

PACKAGE = Path(__file__).parents[1] / "procconn"
PACKAGES = ("", "processes", "recording", "pipeline", "cli ship")
"""Each package may import those before it; "" is the top-level modules."""

PARTS = {  # struct: the .c and .h file that own it
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

requires_c_sources = pytest.mark.skipif(not CSRC.is_dir(), reason="no C sources here")
requires_modules = pytest.mark.skipif(
    not PACKAGE.is_dir(), reason="no Python sources here"
)


def sources() -> Iterator[tuple[str, str]]:
    for path in sorted(CSRC.glob("*/*.[ch]")):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
        yield str(path.relative_to(CSRC)), text


def included(text: str) -> list[str]:
    return re.findall(r'^#include "(.+)"', text, re.MULTILINE)


@requires_c_sources
def test_every_c_directory_is_a_layer() -> None:
    assert set(LAYERS) == {path.name for path in CSRC.iterdir() if path.is_dir()}


@requires_c_sources
def test_no_layer_includes_a_higher_one() -> None:
    upward = [
        (name, header)
        for name, text in sources()
        for header in included(text)
        if "/" in header
        and LAYERS.index(header.split("/")[0]) > LAYERS.index(name.split("/")[0])
    ]

    assert [] == upward
    assert any("/" in header for _, text in sources() for header in included(text))


@requires_c_sources
def test_only_one_directory_includes_python_h() -> None:
    including = {name.split("/")[0] for name, text in sources() if "<Python.h>" in text}

    assert {"python"} == including


@requires_c_sources
@pytest.mark.parametrize("folder", LAYERS)
def test_c_directories_and_files_are_small(folder: str) -> None:
    files = list((CSRC / folder).glob("*.c"))

    assert 1 <= len(files) <= MOST_FILES
    for path in files:
        assert len(path.read_text().splitlines()) <= MOST_LINES, path


def members() -> dict[str, set[str]]:
    """Map each struct to its members in the stream, such as `queue` and `staging`."""
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
    """List the statements of a file that change a field of the struct `part`."""
    pointers = set(re.findall(rf"struct {part} \*(\w+)", text))
    paths = [rf"->{name}\.(\w+)" for name in members().get(part, ())]
    paths += [rf"\b{name}->(\w+)" for name in pointers]
    found = []
    for path in paths:
        found += re.findall(rf".*{path}{ASSIGNED}", text)
        found += re.findall(rf"{CHANGED}[\w.>-]*?{path}", text)
    return found


@requires_c_sources
@pytest.mark.parametrize("part", PARTS)
def test_part_is_changed_by_its_owner_only(part: str) -> None:
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


@requires_c_sources
def test_every_part_of_a_stream_has_an_owner() -> None:
    plain = {"procconn_view", "procconn_settings"}

    assert set(members()) - plain <= set(PARTS)


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name != "__main__.py":  # imports cli, to start the command
            yield path, ast.parse(path.read_text())


def imported(path: Path, module: ast.Module) -> Iterator[str]:
    """Yield the procconn modules that a module imports, also within functions."""
    package = path.relative_to(PACKAGE.parent).parent.parts
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1] if node.level else ())
            base += [node.module] if node.module else []
            # A name imported from a package may be a submodule.
            names = [".".join([*base, alias.name]) for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "procconn")


def package_of(name: str) -> str:
    """Return the package of a module, "" for a top-level module."""
    _, folder, *_ = [*name.split("."), ""]
    return folder if (PACKAGE / folder).is_dir() else ""


def layer_of(package: str) -> int:
    (layer,) = (at for at, names in enumerate(PACKAGES) if package in names.split(" "))
    return layer


@requires_modules
def test_every_package_is_in_a_layer() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}

    assert packages | {""} == set(" ".join(PACKAGES).split(" "))


@requires_modules
@pytest.mark.parametrize("package", " ".join(PACKAGES).split(" "), ids=repr)
def test_package_imports_only_itself_and_lower_layers(package: str) -> None:
    found = [
        (str(path.relative_to(PACKAGE)), name, package_of(name))
        for path, module in modules()
        if package_of(".".join(path.relative_to(PACKAGE.parent).parts)) == package
        for name in imported(path, module)
    ]

    assert [] == [
        (path, name)
        for path, name, other in found
        if other != package and layer_of(other) >= layer_of(package)
    ]
    assert found
