"""`procconn doctor` on this kernel, and where access is restricted."""

import json
import os
import pwd
import re
import subprocess
import sys
from typing import Any

import pytest
from support.json_schema import schema, violations
from support.machine import KERNEL

SCHEMA = schema("doctor")
DOCTOR = [sys.executable, "-m", "procconn", "doctor"]


def examined(*before: str) -> dict[str, Any]:
    """Run the doctor with these words before it; return its findings by subject."""
    doctor = subprocess.run(
        [*before, *DOCTOR, "--json"], capture_output=True, check=False
    )
    report = json.loads(doctor.stdout)
    assert [] == violations(SCHEMA, report)
    return {it["subject"]: it for it in report["findings"]}


def test_doctor_finds_this_kernel_well_if_the_buffer_is() -> None:
    doctor = subprocess.run([*DOCTOR, "--json"], capture_output=True, check=False)
    report = json.loads(doctor.stdout)
    problems = {f["subject"] for f in report["findings"] if f["state"] == "problem"}

    assert problems <= {"receive buffer"}
    assert report["ok"] == (not problems) == (doctor.returncode == 0)
    assert b"" == doctor.stderr


def test_doctor_names_the_problem_and_the_remedy() -> None:
    if os.geteuid() != 0:
        pytest.skip("making a network namespace takes root")
    command = ["unshare", "--net", *DOCTOR]
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
    """A /proc that shows less is no problem."""
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    script = f'{HIDDEN[way]} && exec "$@"'
    found = examined("unshare", "--mount", "sh", "-c", script, "sh")
    unknown = {it for it in found if found[it]["state"] == "unknown"}

    if way == "none":
        namespaces = {"network namespace", "pid namespace", "user namespace"}
        assert {"kernel configuration", "privilege", *namespaces} <= unknown
        assert "other listeners" in unknown
    elif KERNEL < (5, 13):  # then /proc/self/net can be listed, and not be read
        assert {"kernel configuration", "other listeners"} == unknown
        assert "as needed" == found["network namespace"]["text"]
    else:
        assert not unknown
        assert "as needed" == found["pid namespace"]["text"]
        listeners = found["other listeners"]["text"]
        assert "none" == listeners or int(listeners) > 0


@pytest.mark.parametrize("subject", ["kernel configuration", "other listeners"])
def test_doctor_does_not_know_it_in_another_network_namespace(subject: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("making a network namespace takes root")
    found = examined("unshare", "--net")[subject]

    assert "unknown" == found["state"]
    assert "only the initial network namespace shows it" == found["text"]


WITHOUT = {
    "programs": "--bounding-set=-sys_ptrace",
    "usage": "--bounding-set=-net_admin",
}


@pytest.mark.parametrize("subject", WITHOUT)
def test_doctor_calls_limited_what_a_privilege_is_missing_for(subject: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving up a capability takes root")
    if subject == "usage" and KERNEL < (6, 6):
        pytest.skip("without CAP_NET_ADMIN there are no events before Linux 6.6")
    with_it = examined()[subject]
    without_it = examined("setpriv", WITHOUT[subject])[subject]

    if subject == "usage":  # programs may be limited by a sandbox, too
        assert "ok" == with_it["state"]
    assert "limited" == without_it["state"]


def test_doctor_reports_a_limit_as_no_problem() -> None:
    states = {it["state"] for it in examined().values()}
    doctor = subprocess.run(DOCTOR, capture_output=True, check=False)

    assert doctor.returncode == ("problem" in states)


def test_doctor_tells_at_which_priority_programs_are_read_and_as_whom() -> None:
    text = examined()["programs"]["text"]
    user = pwd.getpwuid(os.geteuid()).pw_name

    assert re.fullmatch(
        f"read at (real-time|normal) priority as {user}(, so .*)?", text
    )
