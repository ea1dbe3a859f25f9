"""The meter: exact counts, in the right cycle, through crashes, changes and full disks."""

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

from hitrate.billing.meter import GRACE_MS, Meter
from hitrate.billing.meter_file import (
    RECORD_BYTES,
    Record,
    encode_record,
    meter_reading,
    read_meter,
)
from hitrate.billing.pricing import Amounts
from hitrate.clock import Clock
from hitrate.errors import ServiceUnavailable
from hitrate.teams.cycles import BillingSchedule, Cycle
from hitrate.teams.models import Team
from tests.support.meter_harness import MeterHarness, ms, team_on, with_plan

DAY_MS = 86_400_000

OURS = team_on(1)
THEIRS = team_on(15, "theirs")


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[MeterHarness]:
    harness = MeterHarness(tmp_path)
    yield harness
    harness.meter.close()


class FullDisk:
    """Stands in for `os.pwrite`: nothing more goes on the disk; or not what makes a file longer."""

    def __init__(self, *, spare_old: bool = False) -> None:
        self._write = os.pwrite
        self._spare_old = spare_old

    def __call__(self, fd: int, data: bytes, offset: int) -> int:
        if self._spare_old and offset < os.fstat(fd).st_size:
            return self._write(fd, data, offset)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full(monkeypatch: pytest.MonkeyPatch, *, spare_old: bool = False) -> pytest.MonkeyPatch:
    """Fill the disk until the `with` ends."""
    monkeypatch.setattr("hitrate.billing.meter.os.pwrite", FullDisk(spare_old=spare_old))
    return monkeypatch


def hand_over(harness: MeterHarness) -> list[tuple[str, Cycle, Amounts]]:
    """What the billing_worker does with the cycles that are over."""
    over = harness.meter.over()
    for record in over:
        harness.meter.forget(record)
    return [(record.team, record.cycle, record.used) for record in over]


# Counting


def test_what_is_counted_adds_up(harness: MeterHarness) -> None:
    harness.meter.count(OURS, requests=1, uploaded=100)
    harness.meter.count(OURS, requests=1, downloaded=7)
    harness.meter.count(OURS, downloaded=3)
    harness.meter.count(OURS, requests=1, events=25)
    expected = {"requests": 3, "uploaded_bytes": 100, "downloaded_bytes": 10, "events": 25}
    assert harness.used(OURS) == expected


def test_each_team_is_counted_for_itself(harness: MeterHarness) -> None:
    harness.meter.count(OURS, requests=1)
    harness.meter.count(THEIRS, requests=2, events=5)
    assert harness.used(OURS) == {"requests": 1}
    assert harness.used(THEIRS) == {"requests": 2, "events": 5}


def test_what_was_counted_outlives_a_kill(harness: MeterHarness) -> None:
    for number in range(1, 20):
        harness.meter.count(OURS, requests=1, uploaded=number)
        harness.meter.count(THEIRS, requests=1)
        harness.kill()
        total = number * (number + 1) // 2
        assert harness.used(OURS) == {"requests": number, "uploaded_bytes": total}
        assert harness.used(THEIRS) == {"requests": number}


def test_who_reads_the_file_sees_each_count_at_once(harness: MeterHarness) -> None:
    harness.meter.count(OURS, requests=1, downloaded=9)
    cycle, used = meter_reading(harness.folder, OURS, harness.clock.now_ms())
    assert (cycle, used) == harness.meter.reading(OURS)


def test_very_large_amounts_have_room(harness: MeterHarness) -> None:
    most = 2**62
    team = Team("team_" + "x" * 24, "s" * 100, "", 0)
    harness.stored[team.id] = most
    harness.meter.count(team, requests=most, uploaded=most, downloaded=most, events=most)
    harness.clock.advance(20 * 86_400)
    harness.meter.count(team, requests=1)
    harness.kill()
    used = harness.used(team)
    assert used["requests"] == most + 1
    assert used["stored_byte_ms"] == most * 20 * DAY_MS
    assert harness.path.stat().st_size == RECORD_BYTES


def test_threads_that_count_at_once_lose_nothing(harness: MeterHarness) -> None:
    def count(team: Team) -> None:
        for _ in range(2000):
            harness.meter.count(team, requests=1, uploaded=3, events=2)

    threads = [threading.Thread(target=count, args=(t,)) for t in (OURS, THEIRS) * 4]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        harness.meter.observe(OURS)
        harness.meter.reading(THEIRS)
    for thread in threads:
        thread.join()
    harness.kill()
    for team in (OURS, THEIRS):
        assert harness.used(team) == {"requests": 8000, "uploaded_bytes": 24_000, "events": 16_000}


def test_a_reader_beside_a_busy_writer_never_sees_half_a_record(harness: MeterHarness) -> None:
    enough = threading.Event()

    def count() -> None:
        while not enough.is_set():
            harness.meter.count(OURS, requests=1, uploaded=1, downloaded=1, events=1)

    writer = threading.Thread(target=count)
    harness.meter.count(OURS, requests=1, uploaded=1, downloaded=1, events=1)
    writer.start()
    for _ in range(2000):
        [(_, record)] = read_meter(harness.folder)
        used = record.used
        assert used.requests == used.uploaded_bytes == used.downloaded_bytes == used.events
    enough.set()
    writer.join()


def test_open_and_close_may_be_called_twice(harness: MeterHarness) -> None:
    harness.meter.count(OURS, requests=1)
    harness.meter.open()
    assert harness.used(OURS) == {"requests": 1}
    harness.meter.close()
    harness.meter.close()
    harness.meter.open()
    harness.meter.count(OURS, requests=1)
    assert harness.used(OURS) == {"requests": 2}
    harness.clock.advance(60 * 86_400)
    harness.meter.observe(OURS)
    assert len(harness.meter.over()) == 1


def test_a_meter_that_is_closed_counts_nothing(harness: MeterHarness) -> None:
    harness.meter.count(OURS, requests=1)
    harness.meter.close()
    with pytest.raises(ServiceUnavailable):
        harness.meter.count(OURS, requests=1)


# Cycles


def test_a_new_cycle_begins_at_nothing_and_the_old_one_is_kept(harness: MeterHarness) -> None:
    harness.meter.count(OURS, requests=5, uploaded=50)
    harness.at("2026-03-31T23:59:59.999")
    harness.meter.count(OURS, requests=1)
    harness.at("2026-04-01")
    assert harness.meter.current(OURS).used == Amounts()
    harness.meter.count(OURS, requests=2)
    assert harness.used(OURS) == {"requests": 2}
    harness.clock.value_ms += GRACE_MS
    march = Cycle(ms("2026-03-01"), ms("2026-04-01"))
    april = Cycle(ms("2026-04-01"), ms("2026-05-01"))
    assert hand_over(harness) == [(OURS.id, march, Amounts(50, 0, 6, 0))]
    assert hand_over(harness) == []
    assert harness.meter.reading(OURS)[0] == april


def test_a_cycle_is_handed_over_a_while_after_its_end(harness: MeterHarness) -> None:
    harness.meter.count(OURS, requests=1)
    harness.at("2026-04-01")
    harness.meter.observe(OURS)
    assert harness.meter.over() == []
    harness.clock.value_ms += GRACE_MS - 1
    assert harness.meter.over() == []
    assert len(harness.meter.over(grace_ms=0)) == 1
    harness.clock.value_ms += 1
    assert len(harness.meter.over()) == 1


def test_an_ended_cycle_waits_through_any_number_of_kills(harness: MeterHarness) -> None:
    harness.meter.count(OURS, requests=7)
    harness.at("2026-04-01")
    harness.meter.count(OURS, requests=1)
    harness.kill()
    harness.kill()
    harness.meter.count(OURS, requests=1)
    harness.clock.value_ms += GRACE_MS
    [(team, cycle, used)] = hand_over(harness)
    assert (team, cycle.start_ms, used.requests) == (OURS.id, ms("2026-03-01"), 7)
    harness.kill()
    assert harness.meter.over() == []
    assert harness.used(OURS) == {"requests": 2}


def test_a_kill_before_the_record_is_forgotten_hands_the_same_over_again(
    harness: MeterHarness,
) -> None:
    harness.meter.count(OURS, requests=7)
    harness.at("2026-04-02")
    harness.meter.count(OURS, requests=1)
    before = harness.meter.over()
    harness.kill()
    harness.meter.count(OURS, requests=1)
    assert harness.meter.over() == before


def test_a_record_that_was_handed_over_makes_room_for_the_next(harness: MeterHarness) -> None:
    for month in range(1, 13):
        harness.at(f"2027-{month:02d}-02")
        for team in (OURS, THEIRS):
            harness.meter.count(team, requests=month)
        hand_over(harness)
        if month % 3 == 0:
            harness.kill()
    assert harness.path.stat().st_size <= 4 * RECORD_BYTES
    assert harness.used(OURS) == harness.used(THEIRS) == {"requests": 12}


def test_what_is_handed_over_is_a_copy(harness: MeterHarness) -> None:
    harness.meter.count(OURS, events=5)
    received_ms = harness.clock.now_ms()
    harness.at("2026-04-02")
    harness.meter.observe(OURS)
    [record] = harness.meter.over()
    harness.meter.take_back_events(OURS.id, received_ms, 2)
    assert record.used.events == 5


def test_a_clock_that_is_set_back_revives_no_old_cycle(harness: MeterHarness) -> None:
    harness.at("2026-04-01")
    harness.meter.count(OURS, requests=1)
    for back in ("2026-03-31T23:59", "2026-02-01"):
        harness.at(back)
        harness.meter.count(OURS, requests=1)
        harness.meter.observe(OURS)
        harness.kill()
    assert harness.meter.over() == []
    cycle, used = harness.meter.reading(OURS)
    assert cycle == Cycle(ms("2026-04-01"), ms("2026-05-01"))
    assert used.requests == 3
    assert meter_reading(harness.folder, OURS, harness.clock.now_ms()) == (cycle, used)


def test_a_day_that_is_changed_ends_the_cycle_in_progress_sooner(harness: MeterHarness) -> None:
    harness.meter.count(OURS, requests=1)
    moved = with_plan(OURS, OURS.settings.cycle.with_day(20, harness.clock.now_ms()))
    harness.meter.count(moved, requests=1)
    assert harness.meter.reading(moved) == (
        Cycle(ms("2026-03-01"), ms("2026-03-20")),
        Amounts(requests=2),
    )
    harness.at("2026-03-20")
    harness.meter.count(moved, requests=1)
    assert harness.meter.reading(moved)[0] == Cycle(ms("2026-03-20"), ms("2026-04-20"))
    assert harness.used(moved) == {"requests": 1}
    harness.clock.value_ms += GRACE_MS
    march = Cycle(ms("2026-03-01"), ms("2026-03-20"))
    assert hand_over(harness) == [(OURS.id, march, Amounts(requests=2))]


def test_a_day_that_is_changed_while_nothing_runs_counts_from_the_start(
    harness: MeterHarness,
) -> None:
    harness.meter.count(OURS, requests=1)
    moved = with_plan(OURS, OURS.settings.cycle.with_day(20, harness.clock.now_ms()))
    harness.at("2026-03-25")
    harness.kill()
    harness.meter.count(moved, requests=2)
    [(_, cycle, used)] = hand_over(harness)
    assert (cycle, used.requests) == (Cycle(ms("2026-03-01"), ms("2026-03-20")), 1)
    assert harness.used(moved) == {"requests": 2}


def test_a_request_with_settings_of_before_a_change_revives_no_old_cycle(
    harness: MeterHarness,
) -> None:
    harness.meter.count(OURS, requests=1)
    moved = with_plan(OURS, OURS.settings.cycle.with_day(20, harness.clock.now_ms()))
    for team in (moved, OURS, moved, OURS):
        harness.meter.count(team, requests=1)
    harness.at("2026-03-20T00:00:01")
    harness.stored[OURS.id] = 10
    harness.meter.count(moved, requests=1)
    for team in (OURS, moved, OURS):
        harness.meter.count(team, requests=1)
        assert harness.meter.reading(team)[0].start_ms == ms("2026-03-20")
    assert harness.used(moved) == {"requests": 4, "stored_bytes": 10}
    harness.clock.value_ms += GRACE_MS
    [(_, cycle, used)] = hand_over(harness)
    assert (cycle, used.requests) == (Cycle(ms("2026-03-01"), ms("2026-03-20")), 5)


def test_storage_is_not_summed_up_twice_when_old_settings_come_over_a_new_cycles_start(
    harness: MeterHarness,
) -> None:
    harness.stored[OURS.id] = 1000
    harness.meter.observe(OURS)
    moved = with_plan(OURS, OURS.settings.cycle.with_day(11, harness.clock.now_ms()))
    harness.at("2026-03-11T00:00:01")
    harness.meter.count(OURS, requests=1)  # its settings are a second old
    harness.at("2026-03-11T00:00:03")
    _, used = harness.meter.reading(moved)
    [ended] = harness.meter.over(grace_ms=0)
    assert ended.used.stored_byte_ms + used.stored_byte_ms == 1000 * (DAY_MS + 3000)


# Events that are taken back


def test_events_are_taken_back_from_the_cycle_in_which_they_came(harness: MeterHarness) -> None:
    harness.at("2026-03-31T23:59:59")
    received_ms = harness.clock.now_ms()
    harness.meter.count(OURS, events=10)
    harness.meter.count(THEIRS, events=10)
    harness.at("2026-04-01T00:00:01")
    harness.meter.count(OURS, events=10)
    harness.meter.take_back_events(OURS.id, received_ms, 4)
    assert harness.used(OURS) == {"events": 10}
    harness.meter.take_back_events(OURS.id, harness.clock.now_ms(), 1)
    harness.kill()
    assert harness.used(OURS) == {"events": 9}
    assert harness.used(THEIRS) == {"events": 10}
    harness.clock.value_ms += GRACE_MS
    [(_, _, used)] = hand_over(harness)
    assert used.events == 6


def test_no_more_is_taken_back_than_there_is(harness: MeterHarness) -> None:
    harness.meter.count(OURS, requests=1, events=3)
    harness.meter.take_back_events(OURS.id, harness.clock.now_ms(), 5)
    harness.meter.take_back_events("team_nobody", harness.clock.now_ms(), 5)
    harness.meter.take_back_events(OURS.id, 0, 5)
    assert harness.used(OURS) == {"requests": 1}


# What is stored


def test_storage_is_summed_up_exactly_over_time(harness: MeterHarness) -> None:
    harness.stored[OURS.id] = 100
    harness.meter.observe(OURS)
    harness.clock.advance(10)
    harness.stored[OURS.id] = 300
    harness.meter.count(OURS, requests=1)
    harness.clock.advance(5)
    harness.meter.observe(OURS)
    harness.clock.advance(1)
    harness.stored[OURS.id] = 0
    harness.meter.observe(OURS)
    harness.clock.advance(1000)
    assert harness.used(OURS) == {"requests": 1, "stored_byte_ms": 100 * 10_000 + 300 * 6_000}


def test_what_is_stored_counts_while_the_server_is_down(harness: MeterHarness) -> None:
    harness.stored[OURS.id] = 100
    harness.meter.observe(OURS)
    harness.clock.advance(3600)
    harness.kill()
    assert harness.used(OURS) == {"stored_bytes": 100, "stored_byte_ms": 100 * 3_600_000}


def test_storage_goes_over_into_the_next_cycle(harness: MeterHarness) -> None:
    harness.stored[OURS.id] = 7
    harness.meter.observe(OURS)
    began_ms = harness.clock.now_ms()
    harness.at("2026-04-03")
    harness.kill()
    assert harness.used(OURS) == {"stored_bytes": 7, "stored_byte_ms": 7 * 2 * DAY_MS}
    [(_, _, used)] = hand_over(harness)
    assert (used.stored_bytes, used.stored_byte_ms) == (7, 7 * (ms("2026-04-01") - began_ms))


def test_cycles_that_went_by_while_nothing_ran_are_kept_for_what_was_stored_in_them(
    harness: MeterHarness,
) -> None:
    harness.stored[OURS.id] = 7
    harness.meter.count(OURS, requests=3)
    harness.at("2026-06-02")
    harness.kill()
    assert harness.used(OURS) == {"stored_bytes": 7, "stored_byte_ms": 7 * DAY_MS}
    over = [(cycle, used) for _, cycle, used in hand_over(harness)]
    assert over == [
        (
            Cycle(ms("2026-03-01"), ms("2026-04-01")),
            Amounts(requests=3, stored_bytes=7, stored_byte_ms=7 * 22 * DAY_MS),
        ),
        (
            Cycle(ms("2026-04-01"), ms("2026-05-01")),
            Amounts(stored_bytes=7, stored_byte_ms=7 * 30 * DAY_MS),
        ),
        (
            Cycle(ms("2026-05-01"), ms("2026-06-01")),
            Amounts(stored_bytes=7, stored_byte_ms=7 * 31 * DAY_MS),
        ),
    ]


def test_who_stored_nothing_has_no_cycles_of_while_nothing_ran(harness: MeterHarness) -> None:
    harness.meter.count(OURS, requests=3)
    harness.at("2036-06-02")
    harness.meter.count(OURS, requests=1)
    assert [used.requests for _, _, used in hand_over(harness)] == [3]


def test_a_look_at_the_use_hides_no_change_of_storage_from_the_file(harness: MeterHarness) -> None:
    harness.stored[OURS.id] = 100
    harness.meter.observe(OURS)
    harness.clock.advance(10)
    harness.stored[OURS.id] = 5
    assert harness.used(OURS)["stored_bytes"] == 5
    harness.meter.observe(OURS)
    now_ms = harness.clock.now_ms()
    assert meter_reading(harness.folder, OURS, now_ms) == harness.meter.reading(OURS)
    harness.kill()
    harness.clock.advance(10)
    assert harness.used(OURS) == {"stored_bytes": 5, "stored_byte_ms": 1_000_000 + 50_000}


def test_the_file_alone_tells_a_cycle_that_began_while_nothing_ran(harness: MeterHarness) -> None:
    harness.stored[OURS.id] = 9
    harness.meter.count(OURS, requests=1)
    harness.meter.close()
    harness.at("2026-04-03")
    from_file = meter_reading(harness.folder, OURS, harness.clock.now_ms())
    assert from_file == (
        Cycle(ms("2026-04-01"), ms("2026-05-01")),
        Amounts(stored_bytes=9, stored_byte_ms=9 * 2 * DAY_MS),
    )
    harness.meter.open()
    assert harness.meter.reading(OURS) == from_file


def test_of_a_team_that_was_never_counted_the_file_tells_nothing(tmp_path: Path) -> None:
    cycle, used = meter_reading(tmp_path, OURS, ms("2026-03-10"))
    assert (cycle, used) == (Cycle(ms("2026-03-01"), ms("2026-04-01")), Amounts())


# Full disks and spoilt files


def test_a_count_that_cannot_be_written_is_refused_and_not_counted(
    harness: MeterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.meter.count(OURS, requests=1)
    with full(monkeypatch).context(), pytest.raises(ServiceUnavailable, match="metered"):
        harness.meter.count(OURS, requests=1, uploaded=5)
    monkeypatch.undo()
    assert harness.used(OURS) == {"requests": 1}
    harness.meter.count(OURS, requests=1)
    harness.kill()
    assert harness.used(OURS) == {"requests": 2}


def test_a_change_of_storage_that_could_not_be_written_is_written_later(
    harness: MeterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.meter.observe(OURS)
    harness.stored[OURS.id] = 40
    full(monkeypatch)
    with pytest.raises(ServiceUnavailable):
        harness.meter.observe(OURS)
    monkeypatch.undo()
    harness.meter.observe(OURS)
    harness.clock.advance(1)
    harness.stored.clear()
    harness.kill()
    assert harness.used(OURS) == {"stored_byte_ms": 40_000}


def test_a_new_team_waits_for_room_and_takes_none_that_is_free(
    harness: MeterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.meter.count(OURS, requests=1)
    harness.at("2026-04-02")
    harness.meter.observe(OURS)
    hand_over(harness)
    size = harness.path.stat().st_size
    full(monkeypatch)
    for act in (
        lambda: harness.meter.current(THEIRS),
        lambda: harness.meter.count(THEIRS, requests=1),
    ):
        with pytest.raises(ServiceUnavailable):
            act()
    monkeypatch.undo()
    harness.meter.count(THEIRS, requests=1)
    assert harness.used(THEIRS) == {"requests": 1}
    assert harness.path.stat().st_size == size, "the free record was lost"


def test_a_cycle_that_ends_on_a_full_disk_is_handed_over_once_and_no_record_is_shared(
    harness: MeterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.meter.count(OURS, requests=9)
    harness.at("2026-04-01")
    full(monkeypatch, spare_old=True)
    for _ in range(3):
        with pytest.raises(ServiceUnavailable):
            harness.meter.count(OURS, requests=1)
    monkeypatch.undo()
    harness.meter.count(OURS, requests=1)
    harness.clock.value_ms += GRACE_MS
    assert [used.requests for _, _, used in hand_over(harness)] == [9]
    others = [team_on(1, f"other{n}") for n in range(4)]
    for number, team in enumerate(others):
        harness.meter.count(team, requests=number + 1)
    harness.kill()
    assert [harness.used(team) for team in others] == [{"requests": n} for n in (1, 2, 3, 4)]
    assert harness.used(OURS) == {"requests": 1}


def test_half_a_write_is_no_count_and_its_place_is_used_again(
    harness: MeterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.meter.count(OURS, requests=1)
    write = os.pwrite
    monkeypatch.setattr(
        "hitrate.billing.meter.os.pwrite", lambda fd, data, at: write(fd, data[:100], at)
    )
    with pytest.raises(ServiceUnavailable):
        harness.meter.count(THEIRS, requests=1)
    monkeypatch.undo()
    harness.meter.count(THEIRS, requests=1)
    harness.kill()
    assert harness.used(OURS) == harness.used(THEIRS) == {"requests": 1}
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
def test_a_record_that_cannot_be_read_is_skipped_and_stops_nobody(
    harness: MeterHarness, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    harness.meter.count(OURS, requests=5)
    harness.meter.count(THEIRS, requests=6)
    harness.meter.count(team_on(1, "third"), requests=7)
    content = harness.path.read_bytes()
    spoilt = GARBAGE[name](content[RECORD_BYTES : 2 * RECORD_BYTES])
    assert len(spoilt) == RECORD_BYTES
    harness.path.write_bytes(content[:RECORD_BYTES] + spoilt + content[2 * RECORD_BYTES :])
    harness.kill()
    said = "".join(capfd.readouterr())
    assert ("cannot be read" in said) == (name != "zeros")
    assert harness.used(OURS) == {"requests": 5}
    assert harness.used(team_on(1, "third")) == {"requests": 7}
    harness.meter.count(THEIRS, requests=1)
    harness.kill()
    assert harness.used(THEIRS) == {"requests": 1}
    kept = harness.path.read_bytes()[RECORD_BYTES : 2 * RECORD_BYTES] == spoilt
    assert kept == (name != "zeros"), "what cannot be read is left for a person to look at"


@pytest.mark.parametrize("cut", [1, 100, RECORD_BYTES - 1])
def test_a_file_that_was_cut_keeps_what_is_whole(harness: MeterHarness, cut: int) -> None:
    harness.meter.count(OURS, requests=5)
    harness.meter.count(THEIRS, requests=6)
    os.truncate(harness.path, 2 * RECORD_BYTES - cut)
    harness.kill()
    harness.meter.count(team_on(1, "third"), requests=7)
    harness.meter.count(OURS, requests=1)
    harness.kill()
    assert harness.used(OURS) == {"requests": 6}
    assert harness.used(team_on(1, "third")) == {"requests": 7}
    whole = cut <= 100  # blanks only
    assert harness.used(THEIRS) == ({"requests": 6} if whole else {})


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    meter = Meter(tmp_path, lambda _: 0, Clock())
    meter.open()
    meter.count(OURS, requests=1)
    meter.close()
    assert (tmp_path / "meter.ndjson").stat().st_mode & 0o777 == 0o600


# All of it at once


class ReferenceMeter:
    """What a team used, kept as a list of everything that ever happened."""

    def __init__(self, plan: BillingSchedule, now_ms: int) -> None:
        self.plan = plan
        self.cycles = [plan.at(now_ms)]
        self.counted: list[tuple[int, Amounts]] = []
        self.stored: list[tuple[int, int]] = []

    def go_to(self, now_ms: int) -> None:
        while now_ms >= self.cycles[-1].end_ms:
            end_ms = self.cycles[-1].end_ms
            self.cycles.append(Cycle(end_ms, self.plan.at(end_ms).end_ms))

    def change(self, day: int, now_ms: int) -> None:
        self.plan = self.plan.with_day(day, now_ms)
        self.cycles[-1] = Cycle(self.cycles[-1].start_ms, self.plan.at(now_ms).end_ms)

    def used(self, cycle: Cycle, now_ms: int) -> Amounts:
        until_ms = min(cycle.end_ms, now_ms)
        used = Amounts()
        for at_ms, amounts in self.counted:
            if cycle.start_ms <= at_ms < cycle.end_ms:
                used.requests += amounts.requests
                used.uploaded_bytes += amounts.uploaded_bytes
                used.downloaded_bytes += amounts.downloaded_bytes
                used.events += amounts.events
        steps = [*self.stored, (until_ms, 0)]
        for (at_ms, stored), (next_ms, _) in pairwise(steps):
            if at_ms < cycle.end_ms:
                used.stored_bytes = stored
            within_ms = min(next_ms, until_ms) - max(at_ms, cycle.start_ms)
            used.stored_byte_ms += stored * max(0, within_ms)
        return used


spans_s = st.one_of(st.integers(0, 90), st.integers(0, 40 * 86_400), st.integers(0, 100 * 86_400))
some = st.integers(0, 10**12)
teams = st.sampled_from(["ours", "theirs"])


class MeterMachine(RuleBasedStateMachine):
    """Two teams on one meter; whatever happens, each cycle is counted as a reference counts it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.harness = MeterHarness(Path(self.folder.name), "2027-12-29T23:59:30")
        now_ms = self.harness.clock.now_ms()
        self.teams = {name: team_on(day, name) for name, day in (("ours", 31), ("theirs", 1))}
        self.references = {
            n: ReferenceMeter(t.settings.cycle, now_ms) for n, t in self.teams.items()
        }
        self.ledger: dict[tuple[str, int], Record] = {}

    def teardown(self) -> None:
        self.harness.meter.close()
        self.folder.cleanup()

    @rule(name=teams, uploaded=some, downloaded=some, events=st.integers(0, 100))
    def count(self, name: str, uploaded: int, downloaded: int, events: int) -> None:
        self.harness.meter.count(
            self.teams[name], requests=1, uploaded=uploaded, downloaded=downloaded, events=events
        )
        used = Amounts(uploaded, downloaded, 1, events)
        self.references[name].counted.append((self.harness.clock.now_ms(), used))

    @rule(name=teams, stored=some)
    def store(self, name: str, stored: int) -> None:
        self.harness.stored[self.teams[name].id] = stored
        self.harness.meter.observe(self.teams[name])
        self.references[name].stored.append((self.harness.clock.now_ms(), stored))

    @rule(name=teams)
    def read(self, name: str) -> None:
        self.harness.meter.reading(self.teams[name])

    @rule(seconds=spans_s)
    def let_time_pass(self, seconds: int) -> None:
        self.harness.clock.advance(seconds)
        self.see()

    @rule()
    def go_to_the_last_millisecond_of_a_cycle(self) -> None:
        self.harness.clock.value_ms = min(c.cycles[-1].end_ms for c in self.references.values()) - 1

    @rule(seconds=spans_s)
    def stop_and_start(self, seconds: int) -> None:
        self.harness.meter.close()
        self.harness.clock.advance(seconds)
        self.harness.reopen()
        self.see()

    @rule(seconds=spans_s)
    def kill(self, seconds: int) -> None:
        self.harness.clock.advance(seconds)
        self.harness.kill()
        self.see()

    @rule(name=teams, day=st.integers(1, 31), stale=st.booleans())
    def change_the_day(self, name: str, day: int, stale: bool) -> None:
        before, now_ms = self.teams[name], self.harness.clock.now_ms()
        self.references[name].change(day, now_ms)
        self.teams[name] = with_plan(before, self.references[name].plan)
        self.harness.meter.observe(self.teams[name])
        if stale:
            self.harness.meter.count(before, requests=1)
            self.references[name].counted.append((now_ms, Amounts(requests=1)))

    @rule(name=teams, seconds=st.integers(0, 50))
    def take_back(self, name: str, seconds: int) -> None:
        came_ms = self.harness.clock.now_ms()
        self.count(name, 0, 0, 7)
        self.let_time_pass(seconds)
        self.harness.meter.take_back_events(self.teams[name].id, came_ms, 5)
        self.references[name].counted.append((came_ms, Amounts(events=-5)))

    @rule(killed=st.booleans())
    def hand_over(self, killed: bool) -> None:
        over = self.harness.meter.over()
        for record in over:
            self.ledger.setdefault((record.team, record.start_ms), record)
        if killed:  # between the ledger and the meter
            self.harness.kill()
            self.see()
        for record in over:
            self.harness.meter.forget(record)

    @invariant()
    def all_is_as_the_clerks_have_it(self) -> None:
        now_ms = self.harness.clock.now_ms()
        waiting = {(r.team, r.start_ms): r for r in self.harness.meter.over(grace_ms=0)}
        for name, reference in self.references.items():
            team = self.teams[name]
            current = reference.cycles[-1]
            expected = reference.used(current, now_ms)
            assert self.harness.meter.reading(team) == (current, expected)
            assert meter_reading(self.harness.folder, team, now_ms) == (current, expected)
            for cycle in reference.cycles[:-1]:
                key = team.id, cycle.start_ms
                kept = self.ledger.get(key) or waiting.get(key)
                expected = reference.used(cycle, now_ms)
                if kept is not None:
                    assert (kept.cycle, kept.used) == (cycle, expected)
                else:
                    assert expected == Amounts(), "a cycle was lost"

    def see(self) -> None:
        """What the billing_worker does each second."""
        for name, reference in self.references.items():
            reference.go_to(self.harness.clock.now_ms())
            self.harness.meter.observe(self.teams[name])


MeterMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestMeterMachine = MeterMachine.TestCase


def test_a_record_of_the_largest_numbers_fits_into_its_place() -> None:
    most = 2**62
    used = Amounts(most, most, most, most, most, most * 31 * 86_400_000)
    spooled = ("9999999999999-ffffffff.ndjson", most)
    record = Record("team_" + "W" * 24, most, most, used, most, spooled, spooled[0])
    assert len(encode_record(record)) == RECORD_BYTES
