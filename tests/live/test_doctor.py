"""`procconn doctor` on this kernel, in namespaces, and without capabilities."""

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


def findings(*prefix: str) -> dict[str, Any]:
    """Run `PREFIX… procconn doctor --json`; return the findings by subject."""
    doctor = subprocess.run(
        [*prefix, *DOCTOR, "--json"], capture_output=True, check=False
    )
    report = json.loads(doctor.stdout)
    assert [] == violations(SCHEMA, report)
    return {finding["subject"]: finding for finding in report["findings"]}


def test_doctor_finds_no_problem_here_but_the_buffer() -> None:
    doctor = subprocess.run([*DOCTOR, "--json"], capture_output=True, check=False)
    report = json.loads(doctor.stdout)
    problems = {f["subject"] for f in report["findings"] if f["state"] == "problem"}

    assert problems <= {"receive buffer"}
    assert report["ok"] == (not problems) == (doctor.returncode == 0)
    assert b"" == doctor.stderr


def test_doctor_prints_the_problem_and_the_remedy() -> None:
    if os.geteuid() != 0:
        pytest.skip("creating a network namespace requires root")
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


@pytest.mark.parametrize("proc", HIDDEN)
def test_restricted_proc_makes_findings_unknown(proc: str) -> None:
    """A restricted /proc is not a problem."""
    if os.geteuid() != 0:
        pytest.skip("mounting requires root")
    script = f'{HIDDEN[proc]} && exec "$@"'
    found = findings("unshare", "--mount", "sh", "-c", script, "sh")
    unknown = {subject for subject in found if found[subject]["state"] == "unknown"}

    if proc == "none":
        namespaces = {"network namespace", "pid namespace", "user namespace"}
        assert {"kernel configuration", "privilege", *namespaces} <= unknown
        assert "other listeners" in unknown
    elif KERNEL < (5, 13):  # /proc/self/net can be listed, but not read
        assert {"kernel configuration", "other listeners"} == unknown
        assert "as needed" == found["network namespace"]["text"]
    else:
        assert not unknown
        assert "as needed" == found["pid namespace"]["text"]
        listeners = found["other listeners"]["text"]
        assert "none" == listeners or int(listeners) > 0


@pytest.mark.parametrize("subject", ["kernel configuration", "other listeners"])
def test_finding_is_unknown_in_another_network_namespace(subject: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("creating a network namespace requires root")
    found = findings("unshare", "--net")[subject]

    assert "unknown" == found["state"]
    assert "visible only in the initial network namespace" == found["text"]


DROPPED = {
    "programs": "--bounding-set=-sys_ptrace",
    "usage": "--bounding-set=-net_admin",
}


@pytest.mark.parametrize("subject", DROPPED)
def test_missing_capability_makes_finding_limited(subject: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("dropping a capability requires root")
    if subject == "usage" and KERNEL < (6, 6):
        pytest.skip("without CAP_NET_ADMIN there are no events before Linux 6.6")
    privileged = findings()[subject]
    unprivileged = findings("setpriv", DROPPED[subject])[subject]

    if subject == "usage":  # a sandbox may limit programs, too
        assert "ok" == privileged["state"]
    assert "limited" == unprivileged["state"]


def test_limit_is_not_a_problem() -> None:
    states = {finding["state"] for finding in findings().values()}
    doctor = subprocess.run(DOCTOR, capture_output=True, check=False)

    assert doctor.returncode == ("problem" in states)


def test_programs_finding_has_priority_and_user() -> None:
    text = findings()["programs"]["text"]
    user = pwd.getpwuid(os.geteuid()).pw_name

    assert re.fullmatch(f"read at (real-time|normal) priority as {user}(; .*)?", text)
