"""Boots other kernels under emulation and runs the tests that depend on the kernel.

run.py PROCESSOR [PYTEST ARGUMENTS]

The directory build/kernels/PROCESSOR caches a Debian 12 root file system and the
kernels, which apt of that root file system finds and downloads. It also keeps the
console output of each guest. A guest passes if its console reports that the tests ended
with status 0 within the time limit.

Guests run the tests that depend on the kernel and are fast enough under emulation.
Guests of another processor get a wheel that is built like the published ones, and run
the tests that may depend on the processor. Each guest reads a recording of the host,
and the host reads a recording of each guest. Arguments go to pytest and can select
other tests. The environment variable KERNELS selects kernels by the prefixes of their
versions, or as "newest".
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
    "6.1",  # Debian's last one without event masks
    "6.12",
    "newest",
)
SERIES_OF_OTHERS = ("6.12",)  # other processors
TIME_LIMIT = 1500  # seconds for the tests in one guest
BOOT_LIMIT = 120
TRIES, PAUSE = 3, 20  # attempts of apt-get update, and seconds between them
MAX_BOOTS = 3  # QEMU sometimes crashes while a kernel patches its own code

ABOVE_THE_KERNEL = (
    "test_blocked_output*",
    "test_command*",
    "test_docs_live*",
    "test_examples*",
    "test_interruptions*",
    "test_last_events*",
    "test_readers*",
    "test_recording_live*",
    "test_selection*",
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
    """Settings of guests with this processor.

    Attributes:
        debian: Debian's name of the architecture.
        flavour: suffix of the kernel packages.
        package: package of the emulator.
        machine: options of the emulator.
        console: the kernel's name of the first serial port.
        packages: packages in the root file system.
        without: test requirements without wheels for the processor.
    """

    debian: str
    flavour: str
    package: str
    machine: tuple[str, ...]
    console: str
    packages: str = "python3"
    without: tuple[str, ...] = ()


PROCESSORS = {
    # NumPy requires a newer processor than QEMU's default.
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

# Packages are for the Python of Debian 12, not for the Python that runs this script.
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

# A cross compiler that can target older C libraries. Zig has the headers of the C
# library; /usr/include comes after them. `-I` finds the module in pip builds, too.
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

# Parts of the root file system that no test needs.
LEFT_OUT = ("var/cache", "var/lib/apt", "usr/share/locale", "usr/share/doc")


def run(*command: str | Path, **settings: Any) -> None:
    subprocess.run(command, check=True, **settings)


def pip(*arguments: str | Path, **settings: Any) -> None:
    run(sys.executable, "-m", "pip", "--quiet", *arguments, **settings)


def in_root(*command: str) -> str:
    """Run a program in the guest's root file system, and return its output."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    chroot = ["chroot", str(ROOT), *command]
    return subprocess.check_output(chroot, text=True, env=environment)


def install_host_tools() -> None:
    missing = [name for tool, name in HOST_TOOLS.items() if not shutil.which(tool)]
    if missing:
        run("apt-get", "update", "--quiet")
        run("apt-get", "install", "--yes", "--no-install-recommends", *missing)
    if IS_FOREIGN:  # run programs of the root file system in an emulator
        if not (BINFMT / "register").exists():
            run("mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT)
        if not (BINFMT / f"qemu-{NAME}").exists():
            run("update-binfmts", "--enable", f"qemu-{NAME}")


def make_root() -> None:
    """Create the root file system and its archive, unless they exist."""
    if not BASE.exists():
        shutil.rmtree(ROOT, ignore_errors=True)
        choices = ("--variant=minbase", f"--include={PROCESSOR.packages}")
        run("debootstrap", f"--arch={PROCESSOR.debian}", *choices, "bookworm", ROOT)
        archive(ROOT, BASE, without=LEFT_OUT)
    sources = ROOT / "etc/apt/sources.list"
    mirror = sources.read_text().split()[1]  # the mirror that debootstrap chose
    sources.write_text(APT_SOURCES.format(mirror=mirror))
    update_lists()


def update_lists() -> None:
    """Update apt's package lists; if all attempts fail, use the old lists."""
    for _ in range(TRIES):
        try:
            in_root("apt-get", "-o", "Acquire::Retries=3", "update", "--quiet")
        except subprocess.CalledProcessError as error:
            print(f"{error.output}\napt-get update failed; retrying", flush=True)
            time.sleep(PAUSE)
        else:
            return


def packages_of_kernels(flavour: str) -> dict[str, str]:
    """Return the kernel packages by version."""
    version = r"[0-9]+\.[0-9]+\.[^-]+(-[0-9]+)?"  # excludes metapackages
    pattern = rf"^linux-(image|binary)-{version}-{flavour}$"
    found = in_root("apt-cache", "search", "--names-only", pattern)
    names = [line.split()[0] for line in found.splitlines()]
    names.sort(reverse=True)  # prefer linux-binary: its linux-image is empty
    return {name.split("-", 2)[2]: name for name in names}


def numbers_of(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def newest_of(series: str, versions: Iterable[str]) -> str:
    """Return the newest version of a series, such as "6.1" or "newest"."""
    known = sorted(versions, key=numbers_of)
    prefix = "" if series == "newest" else f"{series}."
    found = [version for version in known if version.startswith(prefix)]
    if not found:
        all_series = dict.fromkeys(
            ".".join(version.split(".")[:2]) for version in known
        )
        sys.exit(
            f"Debian has no kernel {series}; set KERNELS to some of"
            f' {", ".join(all_series)} or newest, such as KERNELS="5.10 newest"'
        )
    return found[-1]


def fetch_kernel(package: str) -> Path:
    """Download and unpack a kernel, unless it exists; return its path."""
    directory = BUILD / package
    if not directory.exists():
        script = (
            "cd /var/cache"
            f" && apt-get -o APT::Sandbox::User=root --quiet download {package}"
            f" && dpkg -x {package}_*.deb {package}"
        )
        in_root("sh", "-c", script)
        (ROOT / "var/cache" / package).rename(directory)
    patterns = ("boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz")
    (kernel,) = (kernel for pattern in patterns for kernel in directory.glob(pattern))
    return kernel


def compile_programs(directory: Path) -> None:
    """Compile the C programs of the tests, as guests have no compiler."""
    built = directory / "built"
    built.mkdir()
    for source in directory.glob("*.c"):
        run(*CC, "-O1", "-pthread", "-static", source, "-o", built / source.stem)


def build_wheel() -> None:
    """Build the wheel; for another processor, like the published wheels."""
    shutil.rmtree(WHEEL, ignore_errors=True)
    environment = dict(os.environ)
    if IS_FOREIGN:
        shutil.rmtree(OBJECTS, ignore_errors=True)
        compiler = " ".join((*ZIG_FOR, f"{NAME}-linux-gnu.2.17"))
        settings = BUILD / "setuptools.cfg"
        settings.write_text(
            f"[build]\nbuild_base = {OBJECTS}\n"  # apart from this processor's
            f"[bdist_wheel]\nplat_name = linux_{NAME}\n"
        )
        environment["CC"] = compiler
        environment["LDSHARED"] = f"{compiler} -shared"
        environment["DIST_EXTRA_CONFIG"] = str(settings)
    pip("wheel", "--no-deps", f"--wheel-dir={WHEEL}", PROJECT, env=environment)


def test_requirements() -> list[str]:
    """Return the requirements of the tests that have wheels for the processor."""
    groups = tomllib.loads((PROJECT / "pyproject.toml").read_text())[
        "dependency-groups"
    ]
    every = [
        requirement
        for name in ("test", "test-without-orjson")
        for requirement in groups[name]
    ]
    return [
        requirement
        for requirement in every
        if isinstance(requirement, str)
        and not requirement.startswith(PROCESSOR.without)
    ]


def recordings(verb: str, directory: Path, name: str) -> bool:
    """Make or check a recording; return whether it succeeded."""
    command = (sys.executable, "-m", "kernels.recordings", verb, directory, name)
    done = subprocess.run(command, cwd=PROJECT / "tests", check=False, timeout=120)
    return done.returncode == 0


def make_overlay() -> None:
    """Create the overlay of the root file system: wheel, tests and requirements."""
    shutil.rmtree(OVERLAY, ignore_errors=True)
    build_wheel()
    packages = OVERLAY / GUEST_PACKAGES
    needs: list[str | Path] = [*WHEEL.glob("*.whl"), *test_requirements()]
    pip("install", f"--target={packages}", *FOR_GUEST, *needs)
    tests = OVERLAY / "tests-of-procconn"
    for directory in ("tests", "docs"):  # tests read the JSON schemas in docs
        shutil.copytree(PROJECT / directory, tests / directory)
    compile_programs(tests / "tests/live/programs")
    exchanged = tests / "tests/kernels/recordings"
    exchanged.mkdir()
    if not recordings("make", exchanged, "host"):
        sys.exit("cannot record events on this machine")
    shutil.copy(PROJECT / "pyproject.toml", tests)
    shutil.copy(PROJECT / "tests/kernels/guest-init", OVERLAY / "init")


def archive(directory: Path, target: Path, *, without: tuple[str, ...] = ()) -> None:
    """Write a directory as a cpio archive for an initrd."""
    prune = "".join(f"-path './{path}/*' -prune -o " for path in without)
    pack = "cpio --quiet --null --create --format=newc --owner=0:0"
    script = f"find . {prune} -print0 | {pack}"
    unfinished = target.with_suffix(".unfinished")
    with unfinished.open("wb") as output:
        subprocess.run(script, shell=True, cwd=directory, stdout=output, check=True)
    unfinished.rename(target)


def make_initrd() -> Path:
    """Concatenate the archives; Linux unpacks one after another."""
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
    """Return whether guest-init runs: it prints the kernel version."""
    return f"\n{version}\n" in f"\n{console}"


def text_of(console: Path) -> str:
    return console.read_text(errors="replace").replace("\r", "")


def boot(kernel: Path, initrd: Path, console: Path, arguments: Sequence[str]) -> bool:
    """Run a guest until it powers off or times out; return whether it booted."""
    for_init = " ".join(f'"{argument}"' for argument in arguments)
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
    """Return why a guest failed, according to its console; None if it passed."""
    end = END.search(console)
    if end is None:
        return f"the tests did not end within {TIME_LIMIT} s, or the guest died"
    return None if end["status"] == "0" else end[0]


def recording_problem(console: str, directory: Path) -> str | None:
    """Check the recording on a guest's console; return a problem or None."""
    found = RECORDING.search(console)
    if found is None:
        return "no recording on the console"
    shutil.rmtree(directory, ignore_errors=True)
    packed = io.BytesIO(base64.b64decode(found["base64"]))
    with tarfile.open(fileobj=packed) as archive:
        archive.extractall(directory, filter="data")
    is_same = recordings("check", directory, "guest")
    return None if is_same else f"its recording in {directory} reads differently here"


def summary(console: str) -> str:
    """Return the summary lines of pytest."""
    start = console.rfind("\n=", 0, max(console.rfind("= slowest"), 0)) + 1
    return console[start:].strip()


def passes(kernel: Path, initrd: Path) -> bool:
    """Run the tests on a kernel; print a summary, or the console if they failed."""
    names_tests = any(argument.startswith("tests/") for argument in ARGUMENTS)
    tests = TESTS_OF_PROCESSORS if IS_FOREIGN else TESTS
    arguments = [*(() if names_tests else tests), *ARGUMENTS]
    version = version_of(kernel)
    log = BUILD / f"{version}.log"
    started = time.monotonic()
    for _ in range(MAX_BOOTS):
        if boot(kernel, initrd, log, arguments):
            break
        print(f"{text_of(log)}\n=== {version} did not boot", flush=True)
    console = text_of(log)
    problem = problem_of(console)
    if not problem and not names_tests:
        problem = recording_problem(console, BUILD / f"{version}.recording")
    if not names_tests and (results := os.environ.get("PROCCONN_RESULTS")):
        with Path(results).open("a") as file:
            file.writelines(RAN.findall(console))
    heading = f"=== {version}, {time.monotonic() - started:.0f} s, {log}\n"
    if problem:
        text = RECORDING.sub("", console)
        print(f"{heading}{text}\n=== {version}: {problem}", flush=True)
    else:
        print(f"{heading}{summary(console)}", flush=True)
    return not problem


def max_guests() -> int:
    """Return how many guests may run at a time: each occupies one CPU."""
    cpus = len(os.sched_getaffinity(0))
    available = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
    memory_mib = int(available[1]) // 1024 if available else 0
    return max(1, min(cpus, memory_mib // MEMORY_MIB))


def main() -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    install_host_tools()
    make_root()
    packages = packages_of_kernels(PROCESSOR.flavour)
    series = SERIES_OF_OTHERS if IS_FOREIGN else SERIES
    chosen = os.environ.get("KERNELS", "").split() or series
    versions = dict.fromkeys(newest_of(name, packages) for name in chosen)
    kernels = [fetch_kernel(packages[version]) for version in versions]
    initrd = make_initrd()
    with ThreadPoolExecutor(max_guests()) as at_once:
        passed = list(at_once.map(partial(passes, initrd=initrd), kernels))
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
