"""The meter: exact counts in the right cycle, through crashes, clock changes and full disks."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hitrate.billing.meter import CLOSING_DELAY_MS, Meter
from hitrate.billing.meter_file import (
    RECORD_BYTES,
    MeterFile,
    MeterRecord,
    encode_record,
    read_records,
)
from hitrate.billing.pricing import UsageTotals
from hitrate.clock import Clock, ManualClock
from hitrate.errors import ServiceUnavailable
from hitrate.teams.cycles import BillingSchedule, Cycle
from hitrate.teams.models import Team
from tests.support.meter_harness import MeterHarness, ms, team_on, with_schedule

DAY_MS = 86_400_000

TEAM = team_on(1)
OTHER_TEAM = team_on(15, "theirs")


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[MeterHarness]:
    harness = MeterHarness(tmp_path)
    yield harness
    harness.meter.close()


class FullDisk:
    """Replaces `os.pwrite`: every write fails, or only writes that extend the file."""

    def __init__(self, *, allow_overwrite: bool = False) -> None:
        self._write = os.pwrite
        self._allow_overwrite = allow_overwrite

    def __call__(self, fd: int, data: bytes, offset: int) -> int:
        if self._allow_overwrite and offset < os.fstat(fd).st_size:
            return self._write(fd, data, offset)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fill_disk(
    monkeypatch: pytest.MonkeyPatch, *, allow_overwrite: bool = False
) -> pytest.MonkeyPatch:
    """Make the disk full until `monkeypatch` is undone."""
    monkeypatch.setattr(
        "hitrate.billing.meter.os.pwrite", FullDisk(allow_overwrite=allow_overwrite)
    )
    return monkeypatch


def release_closed_records(harness: MeterHarness) -> list[tuple[str, Cycle, UsageTotals]]:
    """Release all closed records, as the billing worker does, and return their usage."""
    closed = harness.meter.closed_records()
    for record in closed:
        harness.meter.release(record)
    return [(record.team_id, record.cycle, record.usage) for record in closed]


# Counting


def test_counts_add_up(harness: MeterHarness) -> None:
    harness.meter.count(TEAM, requests=1, uploaded_bytes=100)
    harness.meter.count(TEAM, requests=1, downloaded_bytes=7)
    harness.meter.count(TEAM, downloaded_bytes=3)
    harness.meter.count(TEAM, requests=1, events=25)
    expected = {"requests": 3, "uploaded_bytes": 100, "downloaded_bytes": 10, "events": 25}
    assert harness.usage(TEAM) == expected


def test_teams_are_counted_separately(harness: MeterHarness) -> None:
    harness.meter.count(TEAM, requests=1)
    harness.meter.count(OTHER_TEAM, requests=2, events=5)
    assert harness.usage(TEAM) == {"requests": 1}
    assert harness.usage(OTHER_TEAM) == {"requests": 2, "events": 5}


def test_counts_survive_a_kill(harness: MeterHarness) -> None:
    for number in range(1, 20):
        harness.meter.count(TEAM, requests=1, uploaded_bytes=number)
        harness.meter.count(OTHER_TEAM, requests=1)
        harness.kill()
        total = number * (number + 1) // 2
        assert harness.usage(TEAM) == {"requests": number, "uploaded_bytes": total}
        assert harness.usage(OTHER_TEAM) == {"requests": number}


def test_meter_file_shows_each_count_immediately(harness: MeterHarness) -> None:
    harness.meter.count(TEAM, requests=1, downloaded_bytes=9)
    cycle, usage = harness.file.snapshot(TEAM)
    assert (cycle, usage) == harness.meter.snapshot(TEAM)


def test_very_large_amounts_fit_into_a_slot(harness: MeterHarness) -> None:
    maximum = 2**62
    team = Team("team_" + "x" * 24, "s" * 100, "", 0)
    harness.stored_bytes[team.id] = maximum
    harness.meter.count(
        team, requests=maximum, uploaded_bytes=maximum, downloaded_bytes=maximum, events=maximum
    )
    harness.clock.advance(20 * 86_400)
    harness.meter.count(team, requests=1)
    harness.kill()
    usage = harness.usage(team)
    assert usage["requests"] == maximum + 1
    assert usage["stored_byte_ms"] == maximum * 20 * DAY_MS
    assert harness.path.stat().st_size == RECORD_BYTES


def test_concurrent_counts_are_all_kept(harness: MeterHarness) -> None:
    def count(team: Team) -> None:
        for _ in range(2000):
            harness.meter.count(team, requests=1, uploaded_bytes=3, events=2)

    threads = [threading.Thread(target=count, args=(t,)) for t in (TEAM, OTHER_TEAM) * 4]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        harness.meter.sample_storage(TEAM)
        harness.meter.snapshot(OTHER_TEAM)
    for thread in threads:
        thread.join()
    harness.kill()
    for team in (TEAM, OTHER_TEAM):
        assert harness.usage(team) == {"requests": 8000, "uploaded_bytes": 24_000, "events": 16_000}


def test_reader_never_sees_a_partly_written_record(harness: MeterHarness) -> None:
    stop = threading.Event()

    def count() -> None:
        while not stop.is_set():
            harness.meter.count(TEAM, requests=1, uploaded_bytes=1, downloaded_bytes=1, events=1)

    writer = threading.Thread(target=count)
    harness.meter.count(TEAM, requests=1, uploaded_bytes=1, downloaded_bytes=1, events=1)
    writer.start()
    for _ in range(2000):
        [(_, record)] = read_records(harness.data_dir)
        usage = record.usage
        assert usage.requests == usage.uploaded_bytes == usage.downloaded_bytes == usage.events
    stop.set()
    writer.join()


def test_open_and_close_are_idempotent(harness: MeterHarness) -> None:
    harness.meter.count(TEAM, requests=1)
    harness.meter.open()
    assert harness.usage(TEAM) == {"requests": 1}
    harness.meter.close()
    harness.meter.close()
    harness.meter.open()
    harness.meter.count(TEAM, requests=1)
    assert harness.usage(TEAM) == {"requests": 2}
    harness.clock.advance(60 * 86_400)
    harness.meter.sample_storage(TEAM)
    assert len(harness.meter.closed_records()) == 1


def test_closed_meter_rejects_counts(harness: MeterHarness) -> None:
    harness.meter.count(TEAM, requests=1)
    harness.meter.close()
    with pytest.raises(ServiceUnavailable):
        harness.meter.count(TEAM, requests=1)


# Cycles


def test_new_cycle_starts_at_zero_and_keeps_the_closed_one(harness: MeterHarness) -> None:
    harness.meter.count(TEAM, requests=5, uploaded_bytes=50)
    harness.set_time("2026-03-31T23:59:59.999")
    harness.meter.count(TEAM, requests=1)
    harness.set_time("2026-04-01")
    assert harness.meter.current(TEAM).usage == UsageTotals()
    harness.meter.count(TEAM, requests=2)
    assert harness.usage(TEAM) == {"requests": 2}
    harness.clock.value_ms += CLOSING_DELAY_MS
    march = Cycle(ms("2026-03-01"), ms("2026-04-01"))
    april = Cycle(ms("2026-04-01"), ms("2026-05-01"))
    assert release_closed_records(harness) == [(TEAM.id, march, UsageTotals(50, 0, 6, 0))]
    assert release_closed_records(harness) == []
    assert harness.meter.snapshot(TEAM)[0] == april


def test_record_is_closed_a_minute_after_the_cycle_ends(harness: MeterHarness) -> None:
    harness.meter.count(TEAM, requests=1)
    harness.set_time("2026-04-01")
    harness.meter.sample_storage(TEAM)
    assert harness.meter.closed_records() == []
    harness.clock.value_ms += CLOSING_DELAY_MS - 1
    assert harness.meter.closed_records() == []
    assert len(harness.meter.closed_records(min_age_ms=0)) == 1
    harness.clock.value_ms += 1
    assert len(harness.meter.closed_records()) == 1


def test_ended_cycle_survives_repeated_kills(harness: MeterHarness) -> None:
    harness.meter.count(TEAM, requests=7)
    harness.set_time("2026-04-01")
    harness.meter.count(TEAM, requests=1)
    harness.kill()
    harness.kill()
    harness.meter.count(TEAM, requests=1)
    harness.clock.value_ms += CLOSING_DELAY_MS
    [(team, cycle, usage)] = release_closed_records(harness)
    assert (team, cycle.start_ms, usage.requests) == (TEAM.id, ms("2026-03-01"), 7)
    harness.kill()
    assert harness.meter.closed_records() == []
    assert harness.usage(TEAM) == {"requests": 2}


def test_kill_before_release_returns_the_same_closed_record_again(
    harness: MeterHarness,
) -> None:
    harness.meter.count(TEAM, requests=7)
    harness.set_time("2026-04-02")
    harness.meter.count(TEAM, requests=1)
    before = harness.meter.closed_records()
    harness.kill()
    harness.meter.count(TEAM, requests=1)
    assert harness.meter.closed_records() == before


def test_released_slots_are_reused(harness: MeterHarness) -> None:
    for month in range(1, 13):
        harness.set_time(f"2027-{month:02d}-02")
        for team in (TEAM, OTHER_TEAM):
            harness.meter.count(team, requests=month)
        release_closed_records(harness)
        if month % 3 == 0:
            harness.kill()
    assert harness.path.stat().st_size <= 4 * RECORD_BYTES
    assert harness.usage(TEAM) == harness.usage(OTHER_TEAM) == {"requests": 12}


def test_closed_records_are_copies(harness: MeterHarness) -> None:
    harness.meter.count(TEAM, events=5)
    received_ms = harness.clock.now_ms()
    harness.set_time("2026-04-02")
    harness.meter.sample_storage(TEAM)
    [record] = harness.meter.closed_records()
    harness.meter.subtract_duplicates(TEAM.id, received_ms, 2)
    assert record.usage.events == 5


def test_clock_set_back_does_not_reopen_an_old_cycle(harness: MeterHarness) -> None:
    harness.set_time("2026-04-01")
    harness.meter.count(TEAM, requests=1)
    for back in ("2026-03-31T23:59", "2026-02-01"):
        harness.set_time(back)
        harness.meter.count(TEAM, requests=1)
        harness.meter.sample_storage(TEAM)
        harness.kill()
    assert harness.meter.closed_records() == []
    cycle, usage = harness.meter.snapshot(TEAM)
    assert cycle == Cycle(ms("2026-04-01"), ms("2026-05-01"))
    assert usage.requests == 3
    assert harness.file.snapshot(TEAM) == (cycle, usage)


def test_changed_cycle_day_ends_the_current_cycle_earlier(harness: MeterHarness) -> None:
    harness.meter.count(TEAM, requests=1)
    changed = with_schedule(TEAM, TEAM.settings.cycle.with_day(20, harness.clock.now_ms()))
    harness.meter.count(changed, requests=1)
    assert harness.meter.snapshot(changed) == (
        Cycle(ms("2026-03-01"), ms("2026-03-20")),
        UsageTotals(requests=2),
    )
    harness.set_time("2026-03-20")
    harness.meter.count(changed, requests=1)
    assert harness.meter.snapshot(changed)[0] == Cycle(ms("2026-03-20"), ms("2026-04-20"))
    assert harness.usage(changed) == {"requests": 1}
    harness.clock.value_ms += CLOSING_DELAY_MS
    march = Cycle(ms("2026-03-01"), ms("2026-03-20"))
    assert release_closed_records(harness) == [(TEAM.id, march, UsageTotals(requests=2))]


def test_cycle_day_changed_while_stopped_applies_at_start(
    harness: MeterHarness,
) -> None:
    harness.meter.count(TEAM, requests=1)
    changed = with_schedule(TEAM, TEAM.settings.cycle.with_day(20, harness.clock.now_ms()))
    harness.set_time("2026-03-25")
    harness.kill()
    harness.meter.count(changed, requests=2)
    [(_, cycle, usage)] = release_closed_records(harness)
    assert (cycle, usage.requests) == (Cycle(ms("2026-03-01"), ms("2026-03-20")), 1)
    assert harness.usage(changed) == {"requests": 2}


def test_request_with_outdated_settings_does_not_reopen_an_old_cycle(
    harness: MeterHarness,
) -> None:
    harness.meter.count(TEAM, requests=1)
    changed = with_schedule(TEAM, TEAM.settings.cycle.with_day(20, harness.clock.now_ms()))
    for team in (changed, TEAM, changed, TEAM):
        harness.meter.count(team, requests=1)
    harness.set_time("2026-03-20T00:00:01")
    harness.stored_bytes[TEAM.id] = 10
    harness.meter.count(changed, requests=1)
    for team in (TEAM, changed, TEAM):
        harness.meter.count(team, requests=1)
        assert harness.meter.snapshot(team)[0].start_ms == ms("2026-03-20")
    assert harness.usage(changed) == {"requests": 4, "stored_bytes": 10}
    harness.clock.value_ms += CLOSING_DELAY_MS
    [(_, cycle, usage)] = release_closed_records(harness)
    assert (cycle, usage.requests) == (Cycle(ms("2026-03-01"), ms("2026-03-20")), 5)


def test_outdated_settings_at_a_cycle_start_do_not_double_storage(
    harness: MeterHarness,
) -> None:
    harness.stored_bytes[TEAM.id] = 1000
    harness.meter.sample_storage(TEAM)
    changed = with_schedule(TEAM, TEAM.settings.cycle.with_day(11, harness.clock.now_ms()))
    harness.set_time("2026-03-11T00:00:01")
    harness.meter.count(TEAM, requests=1)  # its settings are a second old
    harness.set_time("2026-03-11T00:00:03")
    _, usage = harness.meter.snapshot(changed)
    [ended] = harness.meter.closed_records(min_age_ms=0)
    assert ended.usage.stored_byte_ms + usage.stored_byte_ms == 1000 * (DAY_MS + 3000)


# Duplicates


def test_duplicates_are_subtracted_from_the_cycle_of_their_arrival(
    harness: MeterHarness,
) -> None:
    harness.set_time("2026-03-31T23:59:59")
    received_ms = harness.clock.now_ms()
    harness.meter.count(TEAM, events=10)
    harness.meter.count(OTHER_TEAM, events=10)
    harness.set_time("2026-04-01T00:00:01")
    harness.meter.count(TEAM, events=10)
    harness.meter.subtract_duplicates(TEAM.id, received_ms, 4)
    assert harness.usage(TEAM) == {"events": 10}
    harness.meter.subtract_duplicates(TEAM.id, harness.clock.now_ms(), 1)
    harness.kill()
    assert harness.usage(TEAM) == {"events": 9}
    assert harness.usage(OTHER_TEAM) == {"events": 10}
    harness.clock.value_ms += CLOSING_DELAY_MS
    [(_, _, usage)] = release_closed_records(harness)
    assert usage.events == 6


def test_subtracting_duplicates_never_goes_below_zero(harness: MeterHarness) -> None:
    harness.meter.count(TEAM, requests=1, events=3)
    harness.meter.subtract_duplicates(TEAM.id, harness.clock.now_ms(), 5)
    harness.meter.subtract_duplicates("team_nobody", harness.clock.now_ms(), 5)
    harness.meter.subtract_duplicates(TEAM.id, 0, 5)
    assert harness.usage(TEAM) == {"requests": 1}


# Storage


def test_storage_accrues_exactly_over_time(harness: MeterHarness) -> None:
    harness.stored_bytes[TEAM.id] = 100
    harness.meter.sample_storage(TEAM)
    harness.clock.advance(10)
    harness.stored_bytes[TEAM.id] = 300
    harness.meter.count(TEAM, requests=1)
    harness.clock.advance(5)
    harness.meter.sample_storage(TEAM)
    harness.clock.advance(1)
    harness.stored_bytes[TEAM.id] = 0
    harness.meter.sample_storage(TEAM)
    harness.clock.advance(1000)
    assert harness.usage(TEAM) == {"requests": 1, "stored_byte_ms": 100 * 10_000 + 300 * 6_000}


def test_storage_accrues_while_the_server_is_stopped(harness: MeterHarness) -> None:
    harness.stored_bytes[TEAM.id] = 100
    harness.meter.sample_storage(TEAM)
    harness.clock.advance(3600)
    harness.kill()
    assert harness.usage(TEAM) == {"stored_bytes": 100, "stored_byte_ms": 100 * 3_600_000}


def test_stored_bytes_carry_over_into_the_next_cycle(harness: MeterHarness) -> None:
    harness.stored_bytes[TEAM.id] = 7
    harness.meter.sample_storage(TEAM)
    began_ms = harness.clock.now_ms()
    harness.set_time("2026-04-03")
    harness.kill()
    assert harness.usage(TEAM) == {"stored_bytes": 7, "stored_byte_ms": 7 * 2 * DAY_MS}
    [(_, _, usage)] = release_closed_records(harness)
    assert (usage.stored_bytes, usage.stored_byte_ms) == (7, 7 * (ms("2026-04-01") - began_ms))


def test_cycles_that_passed_while_stopped_are_added_for_their_storage(
    harness: MeterHarness,
) -> None:
    harness.stored_bytes[TEAM.id] = 7
    harness.meter.count(TEAM, requests=3)
    harness.set_time("2026-06-02")
    harness.kill()
    assert harness.usage(TEAM) == {"stored_bytes": 7, "stored_byte_ms": 7 * DAY_MS}
    closed = [(cycle, usage) for _, cycle, usage in release_closed_records(harness)]
    assert closed == [
        (
            Cycle(ms("2026-03-01"), ms("2026-04-01")),
            UsageTotals(requests=3, stored_bytes=7, stored_byte_ms=7 * 22 * DAY_MS),
        ),
        (
            Cycle(ms("2026-04-01"), ms("2026-05-01")),
            UsageTotals(stored_bytes=7, stored_byte_ms=7 * 30 * DAY_MS),
        ),
        (
            Cycle(ms("2026-05-01"), ms("2026-06-01")),
            UsageTotals(stored_bytes=7, stored_byte_ms=7 * 31 * DAY_MS),
        ),
    ]


def test_cycles_that_passed_while_stopped_without_storage_are_skipped(
    harness: MeterHarness,
) -> None:
    harness.meter.count(TEAM, requests=3)
    harness.set_time("2036-06-02")
    harness.meter.count(TEAM, requests=1)
    assert [usage.requests for _, _, usage in release_closed_records(harness)] == [3]


def test_snapshot_does_not_hide_a_storage_change_from_the_file(harness: MeterHarness) -> None:
    harness.stored_bytes[TEAM.id] = 100
    harness.meter.sample_storage(TEAM)
    harness.clock.advance(10)
    harness.stored_bytes[TEAM.id] = 5
    assert harness.usage(TEAM)["stored_bytes"] == 5
    harness.meter.sample_storage(TEAM)
    assert harness.file.snapshot(TEAM) == harness.meter.snapshot(TEAM)
    harness.kill()
    harness.clock.advance(10)
    assert harness.usage(TEAM) == {"stored_bytes": 5, "stored_byte_ms": 1_000_000 + 50_000}


def test_meter_file_reports_a_cycle_that_began_while_stopped(harness: MeterHarness) -> None:
    harness.stored_bytes[TEAM.id] = 9
    harness.meter.count(TEAM, requests=1)
    harness.meter.close()
    harness.set_time("2026-04-03")
    from_file = harness.file.snapshot(TEAM)
    assert from_file == (
        Cycle(ms("2026-04-01"), ms("2026-05-01")),
        UsageTotals(stored_bytes=9, stored_byte_ms=9 * 2 * DAY_MS),
    )
    harness.meter.open()
    assert harness.meter.snapshot(TEAM) == from_file


def test_meter_file_reports_no_usage_for_an_unknown_team(tmp_path: Path) -> None:
    cycle, usage = MeterFile(tmp_path, ManualClock(ms("2026-03-10"))).snapshot(TEAM)
    assert (cycle, usage) == (Cycle(ms("2026-03-01"), ms("2026-04-01")), UsageTotals())


# Full disks and damaged files


def test_count_that_cannot_be_written_raises_and_counts_nothing(
    harness: MeterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.meter.count(TEAM, requests=1)
    with fill_disk(monkeypatch).context(), pytest.raises(ServiceUnavailable, match="metered"):
        harness.meter.count(TEAM, requests=1, uploaded_bytes=5)
    monkeypatch.undo()
    assert harness.usage(TEAM) == {"requests": 1}
    harness.meter.count(TEAM, requests=1)
    harness.kill()
    assert harness.usage(TEAM) == {"requests": 2}


def test_storage_sample_that_cannot_be_written_is_written_later(
    harness: MeterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.meter.sample_storage(TEAM)
    harness.stored_bytes[TEAM.id] = 40
    fill_disk(monkeypatch)
    with pytest.raises(ServiceUnavailable):
        harness.meter.sample_storage(TEAM)
    monkeypatch.undo()
    harness.meter.sample_storage(TEAM)
    harness.clock.advance(1)
    harness.stored_bytes.clear()
    harness.kill()
    assert harness.usage(TEAM) == {"stored_byte_ms": 40_000}


def test_new_team_on_a_full_disk_does_not_lose_a_free_slot(
    harness: MeterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.meter.count(TEAM, requests=1)
    harness.set_time("2026-04-02")
    harness.meter.sample_storage(TEAM)
    release_closed_records(harness)
    size = harness.path.stat().st_size
    fill_disk(monkeypatch)
    for act in (
        lambda: harness.meter.current(OTHER_TEAM),
        lambda: harness.meter.count(OTHER_TEAM, requests=1),
    ):
        with pytest.raises(ServiceUnavailable):
            act()
    monkeypatch.undo()
    harness.meter.count(OTHER_TEAM, requests=1)
    assert harness.usage(OTHER_TEAM) == {"requests": 1}
    assert harness.path.stat().st_size == size, "the free record was lost"


def test_cycle_that_ends_on_a_full_disk_is_closed_once_and_no_slot_is_shared(
    harness: MeterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.meter.count(TEAM, requests=9)
    harness.set_time("2026-04-01")
    fill_disk(monkeypatch, allow_overwrite=True)
    for _ in range(3):
        with pytest.raises(ServiceUnavailable):
            harness.meter.count(TEAM, requests=1)
    monkeypatch.undo()
    harness.meter.count(TEAM, requests=1)
    harness.clock.value_ms += CLOSING_DELAY_MS
    assert [usage.requests for _, _, usage in release_closed_records(harness)] == [9]
    others = [team_on(1, f"other{n}") for n in range(4)]
    for number, team in enumerate(others):
        harness.meter.count(team, requests=number + 1)
    harness.kill()
    assert [harness.usage(team) for team in others] == [{"requests": n} for n in (1, 2, 3, 4)]
    assert harness.usage(TEAM) == {"requests": 1}


def test_partial_write_counts_nothing_and_its_slot_is_reused(
    harness: MeterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.meter.count(TEAM, requests=1)
    write = os.pwrite
    monkeypatch.setattr(
        "hitrate.billing.meter.os.pwrite", lambda fd, data, at: write(fd, data[:100], at)
    )
    with pytest.raises(ServiceUnavailable):
        harness.meter.count(OTHER_TEAM, requests=1)
    monkeypatch.undo()
    harness.meter.count(OTHER_TEAM, requests=1)
    harness.kill()
    assert harness.usage(TEAM) == harness.usage(OTHER_TEAM) == {"requests": 1}
    assert harness.path.stat().st_size == 2 * RECORD_BYTES


GARBAGE: dict[str, Callable[[bytes], bytes]] = {
    "torn": lambda line: line[:60] + bytes(RECORD_BYTES - 60),
    "no JSON": lambda _: b"?" * RECORD_BYTES,
    "no UTF-8": lambda line: line.replace(b"team_theirs", b"team_\xff\xfe\xfd\xc3(x"),
    "another shape": lambda _: b'{"team":5}'.ljust(RECORD_BYTES),
    "zeros": lambda _: bytes(RECORD_BYTES),
    "a list": lambda _: (b"[" * 400).ljust(RECORD_BYTES),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_unreadable_record_is_skipped_and_preserved(
    harness: MeterHarness, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    harness.meter.count(TEAM, requests=5)
    harness.meter.count(OTHER_TEAM, requests=6)
    harness.meter.count(team_on(1, "third"), requests=7)
    content = harness.path.read_bytes()
    damaged = GARBAGE[name](content[RECORD_BYTES : 2 * RECORD_BYTES])
    assert len(damaged) == RECORD_BYTES
    harness.path.write_bytes(content[:RECORD_BYTES] + damaged + content[2 * RECORD_BYTES :])
    harness.kill()
    logs = "".join(capfd.readouterr())
    assert ("cannot be read" in logs) == (name != "zeros")
    assert harness.usage(TEAM) == {"requests": 5}
    assert harness.usage(team_on(1, "third")) == {"requests": 7}
    harness.meter.count(OTHER_TEAM, requests=1)
    harness.kill()
    assert harness.usage(OTHER_TEAM) == {"requests": 1}
    stored_record = harness.path.read_bytes()[RECORD_BYTES : 2 * RECORD_BYTES] == damaged
    assert stored_record == (name != "zeros"), "an operator may examine what cannot be read"


@pytest.mark.parametrize("cut", [1, 100, RECORD_BYTES - 1])
def test_truncated_file_keeps_complete_records(harness: MeterHarness, cut: int) -> None:
    harness.meter.count(TEAM, requests=5)
    harness.meter.count(OTHER_TEAM, requests=6)
    os.truncate(harness.path, 2 * RECORD_BYTES - cut)
    harness.kill()
    harness.meter.count(team_on(1, "third"), requests=7)
    harness.meter.count(TEAM, requests=1)
    harness.kill()
    assert harness.usage(TEAM) == {"requests": 6}
    assert harness.usage(team_on(1, "third")) == {"requests": 7}
    complete = cut <= 100  # only padding was cut
    assert harness.usage(OTHER_TEAM) == ({"requests": 6} if complete else {})


def test_meter_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    meter = Meter(tmp_path, lambda _: 0, Clock())
    meter.open()
    meter.count(TEAM, requests=1)
    meter.close()
    assert (tmp_path / "meter.ndjson").stat().st_mode & 0o777 == 0o600


# Random operations against a reference model


class ReferenceMeter:
    """Reference model of the meter for one team: computes usage from a list of all operations."""

    def __init__(self, schedule: BillingSchedule, now_ms: int) -> None:
        self.schedule = schedule
        self.cycles = [schedule.at(now_ms)]
        self.counted: list[tuple[int, UsageTotals]] = []
        self.stored: list[tuple[int, int]] = []

    def advance_to(self, now_ms: int) -> None:
        while now_ms >= self.cycles[-1].end_ms:
            end_ms = self.cycles[-1].end_ms
            self.cycles.append(Cycle(end_ms, self.schedule.at(end_ms).end_ms))

    def change_day(self, day: int, now_ms: int) -> None:
        self.schedule = self.schedule.with_day(day, now_ms)
        self.cycles[-1] = Cycle(self.cycles[-1].start_ms, self.schedule.at(now_ms).end_ms)

    def usage(self, cycle: Cycle, now_ms: int) -> UsageTotals:
        until_ms = min(cycle.end_ms, now_ms)
        usage = UsageTotals()
        for at_ms, totals in self.counted:
            if cycle.start_ms <= at_ms < cycle.end_ms:
                usage.requests += totals.requests
                usage.uploaded_bytes += totals.uploaded_bytes
                usage.downloaded_bytes += totals.downloaded_bytes
                usage.events += totals.events
        steps = [*self.stored, (until_ms, 0)]
        for (at_ms, stored), (next_ms, _) in pairwise(steps):
            if at_ms < cycle.end_ms:
                usage.stored_bytes = stored
            within_ms = min(next_ms, until_ms) - max(at_ms, cycle.start_ms)
            usage.stored_byte_ms += stored * max(0, within_ms)
        return usage


durations_s = st.one_of(
    st.integers(0, 90), st.integers(0, 40 * 86_400), st.integers(0, 100 * 86_400)
)
amounts = st.integers(0, 10**12)
teams = st.sampled_from(["ours", "theirs"])


class MeterMachine(RuleBasedStateMachine):
    """Random operations on a meter with two teams: it always equals the reference model."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        self.harness = MeterHarness(Path(self.directory.name), "2027-12-29T23:59:30")
        now_ms = self.harness.clock.now_ms()
        self.teams = {name: team_on(day, name) for name, day in (("ours", 31), ("theirs", 1))}
        self.references = {
            n: ReferenceMeter(t.settings.cycle, now_ms) for n, t in self.teams.items()
        }
        self.released: dict[tuple[str, int], MeterRecord] = {}

    def teardown(self) -> None:
        self.harness.meter.close()
        self.directory.cleanup()

    @rule(name=teams, uploaded=amounts, downloaded=amounts, events=st.integers(0, 100))
    def count(self, name: str, uploaded: int, downloaded: int, events: int) -> None:
        self.harness.meter.count(
            self.teams[name],
            requests=1,
            uploaded_bytes=uploaded,
            downloaded_bytes=downloaded,
            events=events,
        )
        usage = UsageTotals(uploaded, downloaded, 1, events)
        self.references[name].counted.append((self.harness.clock.now_ms(), usage))

    @rule(name=teams, stored=amounts)
    def store(self, name: str, stored: int) -> None:
        self.harness.stored_bytes[self.teams[name].id] = stored
        self.harness.meter.sample_storage(self.teams[name])
        self.references[name].stored.append((self.harness.clock.now_ms(), stored))

    @rule(name=teams)
    def read(self, name: str) -> None:
        self.harness.meter.snapshot(self.teams[name])

    @rule(seconds=durations_s)
    def advance_time(self, seconds: int) -> None:
        self.harness.clock.advance(seconds)
        self.run_worker()

    @rule()
    def advance_to_the_last_millisecond_of_a_cycle(self) -> None:
        self.harness.clock.value_ms = min(c.cycles[-1].end_ms for c in self.references.values()) - 1

    @rule(seconds=durations_s)
    def stop_and_start(self, seconds: int) -> None:
        self.harness.meter.close()
        self.harness.clock.advance(seconds)
        self.harness.restart()
        self.run_worker()

    @rule(seconds=durations_s)
    def kill(self, seconds: int) -> None:
        self.harness.clock.advance(seconds)
        self.harness.kill()
        self.run_worker()

    @rule(name=teams, day=st.integers(1, 31), stale=st.booleans())
    def change_cycle_day(self, name: str, day: int, stale: bool) -> None:
        before, now_ms = self.teams[name], self.harness.clock.now_ms()
        self.references[name].change_day(day, now_ms)
        self.teams[name] = with_schedule(before, self.references[name].schedule)
        self.harness.meter.sample_storage(self.teams[name])
        if stale:
            self.harness.meter.count(before, requests=1)
            self.references[name].counted.append((now_ms, UsageTotals(requests=1)))

    @rule(name=teams, seconds=st.integers(0, 50))
    def find_duplicates(self, name: str, seconds: int) -> None:
        received_ms = self.harness.clock.now_ms()
        self.count(name, 0, 0, 7)
        self.advance_time(seconds)
        self.harness.meter.subtract_duplicates(self.teams[name].id, received_ms, 5)
        self.references[name].counted.append((received_ms, UsageTotals(events=-5)))

    @rule(killed=st.booleans())
    def release_closed_records(self, killed: bool) -> None:
        closed = self.harness.meter.closed_records()
        for record in closed:
            self.released.setdefault((record.team_id, record.start_ms), record)
        if killed:  # after the database, before the meter
            self.harness.kill()
            self.run_worker()
        for record in closed:
            self.harness.meter.release(record)

    @invariant()
    def usage_equals_the_reference(self) -> None:
        now_ms = self.harness.clock.now_ms()
        closed = self.harness.meter.closed_records(min_age_ms=0)
        unreleased = {(record.team_id, record.start_ms): record for record in closed}
        for name, reference in self.references.items():
            team = self.teams[name]
            current = reference.cycles[-1]
            expected = reference.usage(current, now_ms)
            assert self.harness.meter.snapshot(team) == (current, expected)
            assert self.harness.file.snapshot(team) == (current, expected)
            for cycle in reference.cycles[:-1]:
                key = team.id, cycle.start_ms
                stored_record = self.released.get(key) or unreleased.get(key)
                expected = reference.usage(cycle, now_ms)
                if stored_record is not None:
                    assert (stored_record.cycle, stored_record.usage) == (cycle, expected)
                else:
                    assert expected == UsageTotals(), "a cycle was lost"

    def run_worker(self) -> None:
        """Run the steps of the billing worker, as it does each second."""
        for name, reference in self.references.items():
            reference.advance_to(self.harness.clock.now_ms())
            self.harness.meter.sample_storage(self.teams[name])


MeterMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestMeterMachine = MeterMachine.TestCase


def test_record_with_the_largest_numbers_fits_into_a_slot() -> None:
    maximum = 2**62
    usage = UsageTotals(maximum, maximum, maximum, maximum, maximum, maximum * 31 * 86_400_000)
    position = ("9999999999999-ffffffff.ndjson", maximum)
    record = MeterRecord(
        "team_" + "W" * 24, maximum, maximum, usage, maximum, position, position[0]
    )
    assert len(encode_record(record)) == RECORD_BYTES


def test_record_written_by_version_0_1_can_be_read(tmp_path: Path) -> None:
    line = (
        b'{"team":"team_x","startMs":1,"endMs":2,"used":{"uploadedBytes":3,"downloadedBytes":4,'
        b'"requests":5,"events":6,"storedBytes":7,"storedByteMs":8},"storedAtMs":9,'
        b'"spooled":["a.ndjson",10],"returned":"b.ndjson"}'
    )
    (tmp_path / "meter.ndjson").write_bytes(line.ljust(RECORD_BYTES - 1) + b"\n")
    usage = UsageTotals(3, 4, 5, 6, 7, 8)
    record = MeterRecord("team_x", 1, 2, usage, 9, ("a.ndjson", 10), "b.ndjson")
    assert read_records(tmp_path) == [(0, record)]
    assert encode_record(record).strip() == line
