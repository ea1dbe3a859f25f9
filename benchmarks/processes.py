"""CPU time and resident memory of a server's process tree, as counted by the kernel."""

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
"""Above this other programs disturb a measurement. Kernel threads that write a server's data to
disk need less."""
QUIET_PROBE_S = 1.0


def process_tree(pid: int) -> list[psutil.Process]:
    """Return the process and its descendants; empty if it has exited."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


class CpuMeter:
    """Measures CPU time from its creation until `read`."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._started_at = time.perf_counter()
        self._server_s = _tree_seconds(pid)
        self._load_s = _load_seconds()
        self._busy_s = _busy_seconds()

    def read(self) -> tuple[float, float]:
        """Return the CPU seconds of the server's processes, and the busy cores of other programs.

        Other programs are all except the server, this process and the load generator.
        """
        duration_s = time.perf_counter() - self._started_at
        server_s = _tree_seconds(self._pid) - self._server_s
        other_s = _busy_seconds() - self._busy_s - server_s - (_load_seconds() - self._load_s)
        return server_s, max(0.0, other_s / duration_s)


def wait_for_quiet(timeout_s: float) -> None:
    """Wait until fewer than QUIET_CORES are busy, for at most `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        busy_s = _busy_seconds()
        time.sleep(QUIET_PROBE_S)
        if _busy_seconds() - busy_s < QUIET_CORES * QUIET_PROBE_S:
            return


def _load_seconds() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, kinds))


def _busy_seconds() -> float:
    """Return the non-idle time of all CPUs: work, interrupts, and time stolen by the hypervisor."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


def _tree_seconds(pid: int) -> float:
    total = 0.0
    for process in process_tree(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


@dataclass(frozen=True)
class MemoryPeak:
    """Peak memory of a process tree.

    `resident_bytes` is the largest sampled sum over the tree. `high_water_bytes` is the sum of the
    kernel's own peaks (VmHWM) since the start of each process.
    """

    resident_bytes: int
    high_water_bytes: int


class MemorySampler:
    """Samples the memory of a process tree on a thread during a `with` block."""

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
        """Return the peaks so far. Call it while the processes are running."""
        high_water = sum(_status_bytes(process.pid, "VmHWM") for process in process_tree(self._pid))
        return MemoryPeak(self._peak_bytes, high_water)

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_INTERVAL_S):
            resident = sum(
                _status_bytes(process.pid, "VmRSS") for process in process_tree(self._pid)
            )
            self._peak_bytes = max(self._peak_bytes, resident)


def _status_bytes(pid: int, field: str) -> int:
    """Read a field of `/proc/PID/status`, in bytes; 0 if the process has exited."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0
