"""Names the machine above pytest-benchmark's tables, and prints times per event."""

from collections.abc import Sequence
from typing import Any

from benchmarks import report


def pytest_report_header() -> str:
    """Name the kernel, the processor and the versions."""
    return report.measured_on(report.machine())


def pytest_benchmark_scale_unit(
    unit: str, benchmarks: Sequence[Any]
) -> tuple[str, float]:
    """Scale to nanoseconds an event, and to millions of events a second."""
    events: int = benchmarks[0]["extra_info"]["events"]
    return ("n", 1e9 / events) if unit == "seconds" else ("M", events / 1e6)
