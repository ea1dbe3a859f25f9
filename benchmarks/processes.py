"""Processor time and resident memory of a server's process tree, as the kernel counts them."""

import resource
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

SAMPLE_INTERVAL_S = 0.02
QUIET_CORES = 0.15
DISTURBED_CORES = 0.25
"""More than the kernel's own threads need that write a server's data to the disk."""
QUIET_PROBE_S = 1.0


def tree_of(pid: int) -> list[psutil.Process]:
    """The process and all its descendants; empty when it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


class CpuMeter:
    """How much processor time passed between its making and `read`, and who used it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._began_at = time.perf_counter()
        self._server_s = _tree_seconds(pid)
        self._load_s = _load_seconds()
        self._busy_s = _busy_seconds()

    def read(self) -> tuple[float, float]:
        """The seconds that the server's process tree used, and how many cores were busy with
        neither it, nor this program, nor the load generators it waited for."""
        lasted_s = time.perf_counter() - self._began_at
        server_s = _tree_seconds(self._pid) - self._server_s
        others_s = _busy_seconds() - self._busy_s - server_s - (_load_seconds() - self._load_s)
        return server_s, max(0.0, others_s / lasted_s)


def wait_for_quiet(patience_s: float) -> None:
    """Wait until less than QUIET_CORES are busy, or until `patience_s` have passed."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        busy_s = _busy_seconds()
        time.sleep(QUIET_PROBE_S)
        if _busy_seconds() - busy_s < QUIET_CORES * QUIET_PROBE_S:
            return


def _load_seconds() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, kinds))


def _busy_seconds() -> float:
    """What all processors did but idle: work, interrupts, and time taken by the hypervisor."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


def _tree_seconds(pid: int) -> float:
    total = 0.0
    for process in tree_of(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


@dataclass(frozen=True)
class MemoryPeak:
    """`resident_bytes`: the largest sum over the tree at one moment. `high_water_bytes`: the sum
    of the kernel's own peaks (VmHWM) since each process began, start-up included."""

    resident_bytes: int
    high_water_bytes: int


class MemorySampler:
    """Samples the tree's memory on a thread while its `with` block runs."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory-sampler", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def peak(self) -> MemoryPeak:
        """The peaks so far; call it while the processes still live."""
        high_water = sum(_status_bytes(process.pid, "VmHWM") for process in tree_of(self._pid))
        return MemoryPeak(self._peak_bytes, high_water)

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_INTERVAL_S):
            resident = sum(_status_bytes(process.pid, "VmRSS") for process in tree_of(self._pid))
            self._peak_bytes = max(self._peak_bytes, resident)


def _status_bytes(pid: int, field: str) -> int:
    """A field of `/proc/PID/status` in bytes; 0 for a process that is gone or a zombie."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0
