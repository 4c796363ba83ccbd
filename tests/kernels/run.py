"""Boots other kernels under emulation and runs the tests that need a real one there.

run.py PROCESSOR [PYTEST ARGUMENTS]

What takes long to make is kept in build/kernels, by processor: a Debian 12 root file
system and the kernels, which its own apt finds and downloads. The console of each guest
is kept there too. A guest passes if its console says that the tests ended with status
0; one that says nothing within the time limit fails.

Guests run what meets the kernel, and is not too heavy for emulation. What lies above is
the same on each. Those of another processor get a wheel built as it is published, and
run what may depend on the processor. Each guest reads a recording of the host, and the
host reads one of each. Arguments, which are pytest's, choose other tests; KERNELS in
the environment chooses the kernels, by the beginnings of their versions or as "newest".
"""

import base64
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

SERIES = (
    "5.10",  # the oldest that Debian has
    "6.1",  # the last one of Debian's without event masks
    "6.12",
    "newest",
)
SERIES_OF_OTHERS = ("6.12",)  # other processors
TIME_LIMIT = 1500  # for the tests in one guest, in seconds
BOOT_LIMIT = 120
TRIES, PAUSE = 3, 20  # of updating apt's lists; seconds between two
MOST_BOOTS = 3  # QEMU's emulation sometimes trips over a kernel that patches itself

ABOVE_THE_KERNEL = (
    "test_blocked_output*",  # of the command
    "test_command*",
    "test_docs_live*",
    "test_examples*",
    "test_interruptions*",  # between lines of Python
    "test_last_events*",
    "test_readers*",  # between lines of Python, too
    "test_recording_live*",
    "test_selection*",  # the options of the command
    "test_subcommands*",
    "test_trace*",
)
TESTS = (
    "tests/kernels",
    "tests/live",
    *(f"--ignore-glob=*/{name}" for name in ABOVE_THE_KERNEL),
)
TESTS_OF_PROCESSORS = (
    "tests/kernels",
    "tests/test_columns.py",
    "tests/test_decoder.py",
    "tests/test_guard_page.py",
    "tests/test_filter.py",
    "tests/test_packets.py",
    "tests/test_recording.py",
    "tests/test_trailers.py",
    "tests/test_usage.py",
    "tests/live/test_events_live.py",
    "tests/live/test_filters.py",
    "tests/live/test_process_usage.py",
    "tests/live/test_programs.py",
    "tests/live/test_programs_blocked.py",
    "tests/live/test_programs_deceived.py",
    "tests/live/test_programs_fields.py",
    "tests/live/test_programs_limits.py",
    "tests/live/test_programs_priority.py",
    "tests/live/test_programs_stream.py",
    "tests/live/test_programs_traced.py",
    "tests/live/test_recording_live.py",
    "tests/live/test_usage_live.py",
    "tests/live/test_usage_pids.py",
    "tests/live/test_usage_stream.py",
)


class Processor(NamedTuple):
    """How a guest with this processor is made.

    Attributes:
        debian: Debian's name of it.
        flavour: the end of the names of its kernels' packages.
        package: the one with the emulator.
        machine: the emulator's options.
        console: the kernel's name of the first serial line.
        packages: what the root file system has.
        without: test requirements that have no wheels for it.
    """

    debian: str
    flavour: str
    package: str
    machine: tuple[str, ...]
    console: str
    packages: str = "python3"
    without: tuple[str, ...] = ()


PROCESSORS = {
    # NumPy wants a processor younger than QEMU's usual one.
    "x86_64": Processor(
        "amd64", "cloud-amd64", "qemu-system-x86", ("-cpu", "max"), "ttyS0"
    ),
    "aarch64": Processor(
        "arm64",
        "cloud-arm64",
        "qemu-system-arm",
        ("-M", "virt", "-cpu", "max,pauth-impdef=on"),
        "ttyAMA0",
    ),
    "s390x": Processor(  # the big-endian one
        "s390x",
        "s390x",
        "qemu-system-misc",
        ("-M", "s390-ccw-virtio", "-cpu", "max"),
        "ttysclp0",
        packages="python3,python3-numpy",
        without=("numpy",),
    ),
}
NAME, *ARGUMENTS = sys.argv[1:]
PROCESSOR = PROCESSORS[NAME]
IS_FOREIGN = platform.machine() != NAME

PROJECT = Path(__file__).parents[2]
BUILD = PROJECT / "build" / "kernels" / NAME
ROOT = BUILD / "root"
BASE = BUILD / "base.cpio"
OVERLAY = BUILD / "overlay"
WHEEL = BUILD / "wheel"
OBJECTS = BUILD / "objects"

HOST_TOOLS = {  # program: Debian package
    f"qemu-system-{NAME}": PROCESSOR.package,
    "debootstrap": "debootstrap",
    "cpio": "cpio",
}
if IS_FOREIGN:
    HOST_TOOLS |= {
        f"qemu-{NAME}-static": "qemu-user-static",
        "update-binfmts": "binfmt-support",
    }
BINFMT = Path("/proc/sys/fs/binfmt_misc")

APT_SOURCES = """\
deb {mirror} bookworm main
deb {mirror} bookworm-updates main
deb {mirror} bookworm-backports main
deb {mirror}-security bookworm-security main
deb {mirror} bullseye main
deb {mirror} trixie-backports main
"""

# The Python of Debian 12, whatever the one is that runs this.
GUEST_PACKAGES = "usr/local/lib/python3.11/dist-packages"
FOR_GUEST = (
    "--python-version=3.11",
    "--implementation=cp",
    "--abi=cp311",
    "--abi=abi3",
    "--abi=none",
    f"--platform=linux_{NAME}",
    f"--platform=manylinux_2_28_{NAME}",
    f"--platform=manylinux_2_17_{NAME}",
    f"--platform=manylinux2014_{NAME}",
    "--only-binary=:all:",
)

# A compiler for any processor, and for older C libraries than the machine has, whose
# headers are only for what zig has none for. Isolated, it is found in pip builds, too.
ZIG = (sys.executable, "-I", "-m", "ziglang", "cc")
ZIG_FOR = (*ZIG, "-idirafter", "/usr/include", "-target")
CC = (*ZIG_FOR, f"{NAME}-linux-musl") if IS_FOREIGN else ("cc",)

EMULATION = (*PROCESSOR.machine, "-accel", "tcg", "-smp", "2")
MEMORY_MIB = 2048
MACHINE = (*EMULATION, "-m", str(MEMORY_MIB), "-nic", "none", "-no-reboot")
CONSOLE_ONLY = ("-display", "none", "-monitor", "none", "-serial", "stdio")

RECORDING = re.compile(
    r"^guest: a recording\n(?P<base64>[A-Za-z0-9+/=\n]+)\nguest: its end$", re.MULTILINE
)
END = re.compile(r"^guest: the tests ended with status (?P<status>\d+)$", re.MULTILINE)
RAN = re.compile(r"^guest: ran (.*\n)", re.MULTILINE)

# Of the root file system, what no test needs.
LEFT_OUT = ("var/cache", "var/lib/apt", "usr/share/locale", "usr/share/doc")


def run(*command: str | Path, **settings: Any) -> None:
    subprocess.run(command, check=True, **settings)


def pip(*arguments: str | Path, **settings: Any) -> None:
    run(sys.executable, "-m", "pip", "--quiet", *arguments, **settings)


def in_root(*command: str) -> str:
    """Run a program of the guest's root file system; return what it prints."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    chroot = ["chroot", str(ROOT), *command]
    return subprocess.check_output(chroot, text=True, env=environment)


def install_host_tools() -> None:
    missing = [name for tool, name in HOST_TOOLS.items() if not shutil.which(tool)]
    if missing:
        run("apt-get", "update", "--quiet")
        run("apt-get", "install", "--yes", "--no-install-recommends", *missing)
    if IS_FOREIGN:  # the kernel starts the root's programs by an emulator
        if not (BINFMT / "register").exists():
            run("mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT)
        if not (BINFMT / f"qemu-{NAME}").exists():
            run("update-binfmts", "--enable", f"qemu-{NAME}")


def make_root() -> None:
    """Make the root file system and its archive, unless they are there."""
    if not BASE.exists():
        shutil.rmtree(ROOT, ignore_errors=True)
        choices = ("--variant=minbase", f"--include={PROCESSOR.packages}")
        run("debootstrap", f"--arch={PROCESSOR.debian}", *choices, "bookworm", ROOT)
        archive(ROOT, BASE, without=LEFT_OUT)
    sources = ROOT / "etc/apt/sources.list"
    mirror = sources.read_text().split()[1]  # which debootstrap chose
    sources.write_text(APT_SOURCES.format(mirror=mirror))
    update_lists()


def update_lists() -> None:
    """Have apt read its lists; older ones do where the archive renews its own."""
    for _ in range(TRIES):
        try:
            in_root("apt-get", "-o", "Acquire::Retries=3", "update", "--quiet")
        except subprocess.CalledProcessError as error:
            print(f"{error.output}\napt-get update failed: once more", flush=True)
            time.sleep(PAUSE)
        else:
            return


def packages_of_kernels(flavour: str) -> dict[str, str]:
    """Find the packages with a kernel, by its version."""
    version = r"[0-9]+\.[0-9]+\.[^-]+(-[0-9]+)?"  # not that of a metapackage
    pattern = rf"^linux-(image|binary)-{version}-{flavour}$"
    found = in_root("apt-cache", "search", "--names-only", pattern)
    names = [line.split()[0] for line in found.splitlines()]
    names.sort(reverse=True)  # an image is empty where there is a binary, too
    return {name.split("-", 2)[2]: name for name in names}


def numbers_of(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def newest_of(series: str, versions: Iterable[str]) -> str:
    """Return the newest version of a series, which is a version's beginning."""
    known = sorted(versions, key=numbers_of)
    beginning = "" if series == "newest" else f"{series}."
    found = [version for version in known if version.startswith(beginning)]
    if not found:
        all_series = dict.fromkeys(".".join(it.split(".")[:2]) for it in known)
        sys.exit(
            f"Debian has no kernel {series}, but {', '.join(all_series)}: choose by"
            ' KERNELS="5.10 newest"'
        )
    return found[-1]


def fetch_kernel(package: str) -> Path:
    """Download a kernel, unless it is there."""
    folder = BUILD / package
    if not folder.exists():
        script = (
            "cd /var/cache"
            f" && apt-get -o APT::Sandbox::User=root --quiet download {package}"
            f" && dpkg -x {package}_*.deb {package}"
        )
        in_root("sh", "-c", script)
        (ROOT / "var/cache" / package).rename(folder)
    places = ("boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz")
    (kernel,) = (kernel for place in places for kernel in folder.glob(place))
    return kernel


def compile_programs(folder: Path) -> None:
    """Compile what the tests would compile, for a guest that has no compiler."""
    built = folder / "built"
    built.mkdir()
    for source in folder.glob("*.c"):
        run(*CC, "-O1", "-pthread", "-static", source, "-o", built / source.stem)


def build_wheel() -> None:
    """Build the wheel, for another processor as it is published."""
    shutil.rmtree(WHEEL, ignore_errors=True)
    environment = dict(os.environ)
    if IS_FOREIGN:
        shutil.rmtree(OBJECTS, ignore_errors=True)
        compiler = " ".join((*ZIG_FOR, f"{NAME}-linux-gnu.2.17"))
        settings = BUILD / "setuptools.cfg"
        settings.write_text(
            f"[build]\nbuild_base = {OBJECTS}\n"  # not among this processor's
            f"[bdist_wheel]\nplat_name = linux_{NAME}\n"
        )
        environment["CC"] = compiler
        environment["LDSHARED"] = f"{compiler} -shared"
        environment["DIST_EXTRA_CONFIG"] = str(settings)
    pip("wheel", "--no-deps", f"--wheel-dir={WHEEL}", PROJECT, env=environment)


def test_requirements() -> list[str]:
    """List what the tests take, as far as there are wheels for the processor."""
    groups = tomllib.loads((PROJECT / "pyproject.toml").read_text())[
        "dependency-groups"
    ]
    every = [it for name in ("test", "test-without-orjson") for it in groups[name]]
    return [
        it
        for it in every
        if isinstance(it, str) and not it.startswith(PROCESSOR.without)
    ]


def recordings(verb: str, folder: Path, name: str) -> bool:
    """Make or check a recording; return whether that went well."""
    command = (sys.executable, "-m", "kernels.recordings", verb, folder, name)
    done = subprocess.run(command, cwd=PROJECT / "tests", check=False, timeout=120)
    return done.returncode == 0


def make_overlay() -> None:
    """Put together what this tree adds: the wheel, the tests and their needs."""
    shutil.rmtree(OVERLAY, ignore_errors=True)
    build_wheel()
    packages = OVERLAY / GUEST_PACKAGES
    needs: list[str | Path] = [*WHEEL.glob("*.whl"), *test_requirements()]
    pip("install", f"--target={packages}", *FOR_GUEST, *needs)
    tests = OVERLAY / "tests-of-procconn"
    for folder in ("tests", "docs"):  # tests read the schema of what the command prints
        shutil.copytree(PROJECT / folder, tests / folder)
    compile_programs(tests / "tests/live/programs")
    exchanged = tests / "tests/kernels/recordings"
    exchanged.mkdir()
    if not recordings("make", exchanged, "host"):
        sys.exit("this machine could not be recorded")
    shutil.copy(PROJECT / "pyproject.toml", tests)
    shutil.copy(PROJECT / "tests/kernels/guest-init", OVERLAY / "init")


def archive(folder: Path, target: Path, *, without: tuple[str, ...] = ()) -> None:
    """Write a folder as a cpio archive, as Linux takes its first root."""
    prune = "".join(f"-path './{path}/*' -prune -o " for path in without)
    pack = "cpio --quiet --null --create --format=newc --owner=0:0"
    script = f"find . {prune} -print0 | {pack}"
    unfinished = target.with_suffix(".unfinished")
    with unfinished.open("wb") as output:
        subprocess.run(script, shell=True, cwd=folder, stdout=output, check=True)
    unfinished.rename(target)


def make_initrd() -> Path:
    """Join the archives; Linux unpacks one after the other."""
    make_overlay()
    added = BUILD / "overlay.cpio"
    archive(OVERLAY, added)
    initrd = BUILD / "initrd"
    with initrd.open("wb") as output:
        for part in (BASE, added):
            output.write(part.read_bytes())
    return initrd


def version_of(kernel: Path) -> str:
    if kernel.name == "vmlinuz":
        return kernel.parent.name
    return kernel.name.removeprefix("vmlinuz-")


def is_up(console: str, version: str) -> bool:
    """Return whether the first process runs: it prints the kernel's version."""
    return f"\n{version}\n" in f"\n{console}"


def text_of(console: Path) -> str:
    return console.read_text(errors="replace").replace("\r", "")


def boot(kernel: Path, initrd: Path, console: Path, arguments: Sequence[str]) -> bool:
    """Run a guest until it powers off or times out; return whether it came up."""
    for_init = " ".join(f'"{it}"' for it in arguments)
    parameters = f"console={PROCESSOR.console} quiet panic=1 -- {for_init}"
    start = ("-kernel", kernel, "-initrd", initrd, "-append", parameters)
    command: list[str | Path] = [f"qemu-system-{NAME}", *MACHINE, *CONSOLE_ONLY, *start]
    version, nothing = version_of(kernel), subprocess.DEVNULL
    limit, up = time.monotonic() + BOOT_LIMIT, False
    with (
        console.open("wb") as output,
        subprocess.Popen(command, stdin=nothing, stdout=output, stderr=output) as guest,
    ):
        while guest.poll() is None and time.monotonic() < limit:
            time.sleep(0.5)
            if not up and is_up(text_of(console), version):
                limit, up = time.monotonic() + TIME_LIMIT, True
        guest.kill()
    return is_up(text_of(console), version)


def problem_of(console: str) -> str | None:
    """Say what is wrong with a guest, from its console."""
    end = END.search(console)
    if end is None:
        return f"the tests did not end within {TIME_LIMIT} s, or the guest died"
    return None if end["status"] == "0" else end[0]


def recording_problem(console: str, folder: Path) -> str | None:
    """Say what is wrong with the recording that a guest has put onto its console."""
    found = RECORDING.search(console)
    if found is None:
        return "no recording came"
    shutil.rmtree(folder, ignore_errors=True)
    packed = io.BytesIO(base64.b64decode(found["base64"]))
    with tarfile.open(fileobj=packed) as archive:
        archive.extractall(folder, filter="data")
    well = recordings("check", folder, "guest")
    return None if well else f"its recording in {folder} is not read as it was there"


def summary(console: str) -> str:
    """Return the summary lines of pytest."""
    start = console.rfind("\n=", 0, max(console.rfind("= slowest"), 0)) + 1
    return console[start:].strip()


def passes(kernel: Path, initrd: Path) -> bool:
    """Run the tests on a kernel; print how they ended, and all if they failed."""
    names_tests = any(it.startswith("tests/") for it in ARGUMENTS)
    tests = TESTS_OF_PROCESSORS if IS_FOREIGN else TESTS
    arguments = [*(() if names_tests else tests), *ARGUMENTS]
    version = version_of(kernel)
    log = BUILD / f"{version}.log"
    started = time.monotonic()
    for _ in range(MOST_BOOTS):
        if boot(kernel, initrd, log, arguments):
            break
        print(f"{text_of(log)}\n=== {version} did not come up", flush=True)
    console = text_of(log)
    problem = problem_of(console)
    if not problem and not names_tests:
        problem = recording_problem(console, BUILD / f"{version}.recording")
    if not names_tests and (results := os.environ.get("PROCCONN_RESULTS")):
        with Path(results).open("a") as file:
            file.writelines(RAN.findall(console))
    took = f"=== {version}, {time.monotonic() - started:.0f} s, {log}\n"
    if problem:
        shown = RECORDING.sub("", console)
        print(f"{took}{shown}\n=== {version}: {problem}", flush=True)
    else:
        print(f"{took}{summary(console)}", flush=True)
    return not problem


def most_guests() -> int:
    """Return how many guests may run at a time: each keeps one processor busy."""
    processors = len(os.sched_getaffinity(0))
    available = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
    memory_mib = int(available[1]) // 1024 if available else 0
    return max(1, min(processors, memory_mib // MEMORY_MIB))


def main() -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    install_host_tools()
    make_root()
    packages = packages_of_kernels(PROCESSOR.flavour)
    series = SERIES_OF_OTHERS if IS_FOREIGN else SERIES
    chosen = os.environ.get("KERNELS", "").split() or series
    versions = dict.fromkeys(newest_of(it, packages) for it in chosen)
    kernels = [fetch_kernel(packages[version]) for version in versions]
    initrd = make_initrd()
    with ThreadPoolExecutor(most_guests()) as at_once:
        passed = list(at_once.map(partial(passes, initrd=initrd), kernels))
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
