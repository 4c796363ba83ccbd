"""Boots other kernels under emulation and runs the tests that need a real one there.

What takes long to make is kept in build/kernels: a Debian 12 root file system and the
kernels, which its own apt finds and downloads. The console of each guest is kept there
too. A guest passes if its console says that the tests ended with status 0; one that
says nothing within the time limit fails.

Guests run what meets the kernel, and is not too heavy for emulation. What lies above is
the same on each. Arguments, which are pytest's, choose other tests; KERNELS in the
environment chooses the kernels, by the beginnings of their versions or as "newest".
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

SERIES = (
    "5.10",  # the oldest that Debian has
    "6.1",  # the last one of Debian's without event masks
    "6.12",
    "newest",
)
TIME_LIMIT = 1500  # for the tests in one guest, in seconds
BOOT_LIMIT = 120
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

PROJECT = Path(__file__).parents[2]
BUILD = PROJECT / "build" / "kernels"
ROOT = BUILD / "root"
BASE = BUILD / "base.cpio"
OVERLAY = BUILD / "overlay"
WHEEL = BUILD / "wheel"

HOST_TOOLS = {  # program: Debian package
    "qemu-system-x86_64": "qemu-system-x86",
    "debootstrap": "debootstrap",
    "cpio": "cpio",
}

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
    "--platform=linux_x86_64",
    "--platform=manylinux_2_28_x86_64",
    "--platform=manylinux_2_17_x86_64",
    "--platform=manylinux2014_x86_64",
    "--only-binary=:all:",
)

# NumPy wants a processor younger than QEMU's usual one.
PROCESSOR = ("-accel", "tcg", "-cpu", "max", "-smp", "2")
MEMORY_MIB = 2048
MACHINE = (*PROCESSOR, "-m", str(MEMORY_MIB), "-nic", "none", "-no-reboot")
CONSOLE_ONLY = ("-display", "none", "-monitor", "none", "-serial", "stdio")

END = re.compile(r"^guest: the tests ended with status (?P<status>\d+)$", re.MULTILINE)

# Of the root file system, what no test needs.
LEFT_OUT = ("var/cache", "var/lib/apt", "usr/share/locale", "usr/share/doc")


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


def pip(*arguments: str | Path) -> None:
    run(sys.executable, "-m", "pip", "--quiet", *arguments)


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


def make_root() -> None:
    """Make the root file system and its archive, unless they are there."""
    if not BASE.exists():
        shutil.rmtree(ROOT, ignore_errors=True)
        choices = ("--variant=minbase", "--include=python3")
        run("debootstrap", *choices, "bookworm", ROOT)
        archive(ROOT, BASE, without=LEFT_OUT)
    sources = ROOT / "etc/apt/sources.list"
    mirror = sources.read_text().split()[1]  # which debootstrap chose
    sources.write_text(APT_SOURCES.format(mirror=mirror))
    in_root("apt-get", "update", "--quiet")


def packages_of_kernels(flavour: str) -> dict[str, str]:
    """Find the packages with a kernel, by its version."""
    pattern = rf"^linux-(image|binary)-[0-9][^-]*(-[0-9]+)?-{flavour}$"
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
        sys.exit(
            f"no kernel {series} in the sources of {ROOT}, but {', '.join(known)}:"
            ' choose by KERNELS="5.10 newest"'
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
        run("cc", "-O1", "-pthread", "-static", source, "-o", built / source.stem)


def make_overlay() -> None:
    """Put together what this tree adds: the wheel, the tests and their needs."""
    shutil.rmtree(OVERLAY, ignore_errors=True)
    shutil.rmtree(WHEEL, ignore_errors=True)
    pip("wheel", "--no-deps", f"--wheel-dir={WHEEL}", PROJECT)
    packages = OVERLAY / GUEST_PACKAGES
    group = f"--group={PROJECT / 'pyproject.toml'}:test"
    pip("install", f"--target={packages}", *FOR_GUEST, *WHEEL.glob("*.whl"), group)
    tests = OVERLAY / "tests-of-procconn"
    for folder in ("tests", "docs"):  # tests read the schema of what the command prints
        shutil.copytree(PROJECT / folder, tests / folder)
    compile_programs(tests / "tests/live/programs")
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
    """Join the archives; Linux unpacks one behind the other."""
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
    """Whether the guest's first process runs, which tells the kernel's version."""
    return f"\n{version}\n" in f"\n{console}"


def text_of(console: Path) -> str:
    return console.read_text(errors="replace").replace("\r", "")


def boot(kernel: Path, initrd: Path, console: Path, arguments: Sequence[str]) -> bool:
    """Run a guest until it powers off or its time is up; tell whether it came up."""
    for_init = " ".join(f'"{it}"' for it in arguments)
    parameters = f"console=ttyS0 quiet panic=1 -- {for_init}"
    start = ("-kernel", kernel, "-initrd", initrd, "-append", parameters)
    command = ("qemu-system-x86_64", *MACHINE, *CONSOLE_ONLY, *start)
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


def judge(console: str) -> str | None:
    """Say what is wrong with a guest, from its console."""
    end = END.search(console)
    if end is None:
        return f"the tests did not end within {TIME_LIMIT} s, or the guest died"
    return None if end["status"] == "0" else end[0]


def summary(console: str) -> str:
    """Return the last lines of pytest, those that tell how long and how many."""
    start = console.rfind("\n=", 0, max(console.rfind("= slowest"), 0)) + 1
    return console[start:].strip()


def passes(kernel: Path, initrd: Path) -> bool:
    """Run the tests on a kernel; print how they ended, and all if they failed."""
    names_tests = any(it.startswith("tests/") for it in sys.argv[1:])
    arguments = [*(() if names_tests else TESTS), *sys.argv[1:]]
    version = version_of(kernel)
    log = BUILD / f"{version}.log"
    started = time.monotonic()
    for _ in range(MOST_BOOTS):
        if boot(kernel, initrd, log, arguments):
            break
        print(f"{text_of(log)}\n=== {version} did not come up", flush=True)
    console = text_of(log)
    problem = judge(console)
    took = f"=== {version}, {time.monotonic() - started:.0f} s, {log}\n"
    if problem:
        print(f"{took}{console}\n=== {version}: {problem}", flush=True)
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
    packages = packages_of_kernels("cloud-amd64")
    chosen = os.environ.get("KERNELS", "").split() or SERIES
    versions = dict.fromkeys(newest_of(series, packages) for series in chosen)
    kernels = [fetch_kernel(packages[version]) for version in versions]
    initrd = make_initrd()
    with ThreadPoolExecutor(most_guests()) as at_once:
        passed = list(at_once.map(partial(passes, initrd=initrd), kernels))
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
