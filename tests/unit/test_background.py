"""PeriodicThread: intervals, early wake-ups, failures and shutdown."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hitrate.background import PeriodicThread
from hitrate.errors import ServiceUnavailable

TIMEOUT_S = 10.0
NEVER_S = 3600.0


class Job:
    """A job that counts its calls; `failures` are raised by the first calls."""

    def __init__(self, *failures: Exception, delay_s: float | None = None) -> None:
        self.calls = 0
        self.threads: set[threading.Thread] = set()
        self._failures = list(failures)
        self._delay_s = delay_s
        self._called = threading.Semaphore(0)

    def __call__(self) -> float | None:
        self.calls += 1
        self.threads.add(threading.current_thread())
        self._called.release()
        if self._failures:
            raise self._failures.pop(0)
        return self._delay_s

    def wait_for_call(self) -> None:
        assert self._called.acquire(timeout=TIMEOUT_S)


@contextmanager
def running(thread: PeriodicThread) -> Iterator[PeriodicThread]:
    thread.open()
    try:
        yield thread
    finally:
        thread.close()


def test_job_repeats_at_its_interval() -> None:
    job = Job()
    with running(PeriodicThread("test", job, 0.001)):
        for _ in range(3):
            job.wait_for_call()


def test_job_runs_on_one_named_daemon_thread() -> None:
    job = Job()
    with running(PeriodicThread("test", job, 0.001)):
        job.wait_for_call()
        job.wait_for_call()
        (thread,) = job.threads
    assert (thread.name, thread.daemon) == ("test", True)


def test_initial_delay_applies_to_the_first_call_only() -> None:
    job = Job()
    with running(PeriodicThread("test", job, NEVER_S, initial_delay_s=0)) as thread:
        job.wait_for_call()
        thread.close()
    assert job.calls == 1


def test_wake_starts_the_next_call_early() -> None:
    job = Job()
    with running(PeriodicThread("test", job, NEVER_S)) as thread:
        thread.wake()
        job.wait_for_call()
        thread.wake()
        job.wait_for_call()


def test_delay_returned_by_the_job_replaces_the_interval() -> None:
    job = Job(delay_s=0.001)
    with running(PeriodicThread("test", job, NEVER_S, initial_delay_s=0)):
        job.wait_for_call()
        job.wait_for_call()


@pytest.mark.parametrize("failure", [ServiceUnavailable("disk full"), ValueError("bug")])
def test_failed_job_is_called_again(failure: Exception, capfd: pytest.CaptureFixture[str]) -> None:
    job = Job(failure)
    with running(PeriodicThread("test", job, 0.001)):
        job.wait_for_call()
        job.wait_for_call()
    output = "".join(capfd.readouterr())
    assert str(failure) in output


def test_close_interrupts_the_wait_and_reports_whether_it_was_open() -> None:
    job = Job()
    thread = PeriodicThread("test", job, NEVER_S)
    assert not thread.close()
    thread.open()
    assert thread.close()
    assert not thread.close()
    assert job.calls == 0


def test_close_interrupts_the_pause_between_calls() -> None:
    job = Job()
    thread = PeriodicThread("test", job, NEVER_S, initial_delay_s=0, min_pause_s=NEVER_S)
    thread.open()
    job.wait_for_call()
    assert thread.close()


def test_close_interrupts_a_pause_inside_the_job() -> None:
    entered = threading.Event()

    def job() -> None:
        entered.set()
        assert thread.pause(NEVER_S)

    thread = PeriodicThread("test", job, NEVER_S, initial_delay_s=0)
    thread.open()
    assert entered.wait(TIMEOUT_S)
    assert thread.close()


def test_stopping_is_true_from_close_to_the_next_open() -> None:
    thread = PeriodicThread("test", Job(), NEVER_S)
    states = []
    for change in (thread.open, thread.close, thread.open, thread.close):
        change()
        states.append(thread.stopping)
    assert states == [False, True, False, True]


def test_reopened_thread_runs_again() -> None:
    job = Job()
    thread = PeriodicThread("test", job, NEVER_S, initial_delay_s=0)
    for _ in range(2):
        thread.open()
        job.wait_for_call()
        thread.close()
    assert job.calls == 2


def test_run_once_runs_on_the_calling_thread_and_logs_a_failure(
    capfd: pytest.CaptureFixture[str],
) -> None:
    job = Job(ValueError("bug"))
    thread = PeriodicThread("test", job, 7.0)
    assert thread.run_once() == 7.0
    assert job.threads == {threading.current_thread()}
    assert "bug" in "".join(capfd.readouterr())


def test_on_start_is_called_once_on_the_thread() -> None:
    starts: list[str] = []
    job = Job()
    thread = PeriodicThread(
        "test", job, 0.001, on_start=lambda: starts.append(threading.current_thread().name)
    )
    with running(thread):
        job.wait_for_call()
        job.wait_for_call()
    assert starts == ["test"]
