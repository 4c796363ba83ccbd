"""`procconn doctor` on this kernel, and where it sees little of it."""

import json
import os
import pwd
import re
import subprocess
import sys

import pytest


def test_doctor_finds_this_kernel_well_if_the_buffer_is() -> None:
    doctor = subprocess.run(
        [sys.executable, "-m", "procconn", "doctor", "--json"],
        capture_output=True,
        check=False,
    )
    report = json.loads(doctor.stdout)
    problems = {f["subject"] for f in report["findings"] if not f["ok"]}

    assert problems <= {"receive buffer"}
    assert report["ok"] == (not problems) == (doctor.returncode == 0)
    assert b"" == doctor.stderr


def test_doctor_names_the_problem_and_the_remedy() -> None:
    if os.geteuid() != 0:
        pytest.skip("making a network namespace takes root")
    command = ["unshare", "--net", sys.executable, "-m", "procconn", "doctor"]
    doctor = subprocess.run(command, capture_output=True, text=True, check=False)
    (line,) = (
        line
        for line in doctor.stdout.splitlines()
        if line.startswith("network namespace")
    )

    assert 1 == doctor.returncode
    assert "problem" in line
    assert "--net=host" in line


HIDDEN = {
    "subset=pid": "mount -t proc -o subset=pid proc /proc",
    "none": "umount -l /proc",
}


@pytest.mark.parametrize("way", HIDDEN)
def test_doctor_says_what_cannot_be_known(way: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    line = f"{HIDDEN[way]} && exec {sys.executable} -m procconn doctor --json"
    command = ["unshare", "--mount", "sh", "-c", line]
    doctor = subprocess.run(command, capture_output=True, check=False)
    texts = {f["subject"]: f["text"] for f in json.loads(doctor.stdout)["findings"]}

    assert "CAP_NET_ADMIN" == texts["privilege"] or texts["privilege"].startswith(
        "unknown without /proc"
    )
    if way == "none":
        assert texts["privilege"].startswith("unknown without /proc")
        assert texts["pid namespace"] == "unknown without /proc"
        assert texts["other listeners"].startswith("unknown")
    else:
        assert "as needed" == texts["pid namespace"]
        assert "none" == texts["other listeners"] or int(texts["other listeners"]) > 0


def test_doctor_cannot_see_listeners_from_another_network_namespace() -> None:
    if os.geteuid() != 0:
        pytest.skip("making a network namespace takes root")
    command = ["unshare", "--net", sys.executable, "-m", "procconn", "doctor"]
    doctor = subprocess.run(command, capture_output=True, text=True, check=False)

    assert "other listeners       ok       unknown: /proc does not" in doctor.stdout


def test_doctor_tells_at_which_priority_programs_are_read_and_as_whom() -> None:
    command = [sys.executable, "-m", "procconn", "doctor", "--json"]
    doctor = subprocess.run(command, capture_output=True, check=False)
    texts = {f["subject"]: f["text"] for f in json.loads(doctor.stdout)["findings"]}
    user = pwd.getpwuid(os.geteuid()).pw_name

    pattern = f"read at (real-time|normal) priority as {user}(, so .*)?(; .*)?"
    assert re.fullmatch(pattern, texts["programs"])
