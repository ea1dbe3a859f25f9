"""Events taken in: each to its run, whatever else is alike; exact when they come late."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hitrate.errors import DatabaseError, InvalidSegment
from hitrate.events import wire
from hitrate.events.models import EventFilter, LoadResult, RunTotalsDelta
from hitrate.events.rules import MAX_DURATION_MS
from hitrate.events.store import DuckDBEventStore
from hitrate.events.wire import CacheEvent
from tests.support.event_kinds import LOCAL_HIT, LOCAL_MISS, REMOTE_HIT, REMOTE_MISS, Pair

START = 1_800_000_000_000
NAME = "0123456789abcdef"


class RunRow(NamedTuple):
    """A run as it is kept; moments are milliseconds since the start."""

    token: str
    ci: str | None
    started: int
    ended: int
    tasks: int
    local_hits: int
    remote_hits: int
    local_ms: int
    remote_ms: int
    events: int
    repeats: int
    anomalies: int
    resent: int


class Artifacts:
    """Durations of stored artifacts; remembers what it was asked."""

    def __init__(self) -> None:
        self.known: dict[str, float] = {}
        self.asked: list[set[str]] = []
        self.away = False

    def __call__(self, team_id: str, names: Sequence[str]) -> Mapping[str, float]:
        if self.away:
            raise DatabaseError(f"The database of {team_id} cannot be used now.")
        self.asked.append(set(names))
        return {name: self.known[name] for name in names if name in self.known}


class Intake:
    """A store on a folder, and batches to load into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.artifacts = Artifacts()
        self.store = DuckDBEventStore(folder, 2**26, self.artifacts)
        self.store.open()
        self._batches = self._segments = 0

    def batch(self, *events: CacheEvent, at: int = 0, **said: Any) -> wire.Batch:
        """One of its own, that many milliseconds after the start."""
        self._batches += 1
        known = {"team": "team_a", "token": "tok_a", "ci": None, "interactive": None, "agent": None}
        digest = f"{self._batches}"
        return wire.Batch(
            **{**known, **said}, received_at=START + at, digest=digest, events=list(events)
        )

    def load(self, *batches: wire.Batch) -> LoadResult:
        """Take them in as one segment."""
        self._segments += 1
        segment = self.folder / "segment.ndjson"
        segment.write_bytes(b"".join(map(wire.encode_batch, batches)))
        return self.store.load(segment, f"{self._segments}")

    def run(self, session: str = "s", team: str = "team_a") -> RunRow:
        """The only run of that session."""
        query = f"""
            SELECT token_id, ci, started_at - {START}, ended_at - {START}, tasks, local_hits,
                   remote_hits, local_ms, remote_ms, events, repeats, anomalies, resent
            FROM runs r JOIN senders s ON s.id = r.sender WHERE r.team_id = ? AND session_id = ?
        """
        with self.store.cursor() as cursor:
            [row] = cursor.execute(query, [team, session]).fetchall()
        return RunRow(*row)


def task(
    *kinds: Pair, name: str = NAME, session: str = "s", ms: float = 0.0
) -> Iterator[CacheEvent]:
    """Events of one task, each of which tells that duration."""
    return (CacheEvent(session, source, kind, name, ms) for source, kind in kinds)


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    intake = Intake(tmp_path)
    yield intake
    intake.store.close()


# Runs


def test_the_same_session_of_two_teams_is_two_runs(intake: Intake) -> None:
    hit, miss = (list(task(kind)) for kind in (LOCAL_HIT, LOCAL_MISS))
    intake.load(intake.batch(*hit), intake.batch(*miss, team="team_b"))
    intake.load(intake.batch(*miss, team="team_b", at=5))
    assert intake.run().local_hits == 1
    assert intake.run(team="team_b")[4:6] == (1, 0)
    assert (intake.run().ended, intake.run(team="team_b").ended) == (0, 5)


def test_teams_and_sessions_that_read_alike_together_are_told_apart(intake: Intake) -> None:
    one = intake.batch(*task(LOCAL_HIT, session="a/b"), team="team")
    other = intake.batch(*task(LOCAL_MISS, session="b"), team="team/a")
    for _ in range(2):
        intake.load(one, other)
    intake.load(intake.batch(*task(LOCAL_HIT, session="b"), team="team/a"))
    assert (intake.run("a/b", "team").events, intake.run("a/b", "team").resent) == (1, 1)
    assert (intake.run("b", "team/a").events, intake.run("b", "team/a").resent) == (2, 1)
    assert intake.run("b", "team/a").local_hits == 1


def test_a_session_of_two_tokens_is_one_run_of_whoever_came_first(intake: Intake) -> None:
    second = intake.batch(*task(LOCAL_HIT), at=9, token="tok_b", ci="B")
    first = intake.batch(*task(LOCAL_MISS, REMOTE_MISS), at=5, token="tok_a", ci="A")
    intake.load(second)
    assert intake.run()[:4] == ("tok_b", "B", 9, 9)
    intake.load(first)
    assert intake.run()[:6] == ("tok_a", "A", 5, 9, 1, 1)
    found = intake.store.events(EventFilter("team_a"))
    assert [(one.token_id, one.ci) for one in found] == [("tok_a", "A")] * 2 + [("tok_b", "B")]


def test_a_segment_whose_lines_are_out_of_order_is_no_different(intake: Intake) -> None:
    late = intake.batch(*task(LOCAL_HIT), at=9, ci="late")
    early = intake.batch(*task(LOCAL_HIT), at=5, ci="early")
    intake.load(late, early)
    assert intake.run()[1:4] == ("early", 5, 9)


def test_a_batch_tells_of_several_runs(intake: Intake) -> None:
    events = [
        CacheEvent(f"s{n % 3}", "LOCAL", "HIT" if n % 2 else "MISS", f"h{n % 4}") for n in range(12)
    ]
    loaded = intake.load(intake.batch(*events, at=7))
    assert loaded.totals == RunTotalsDelta(12, 3, 12, 6, 0, 0, 0)
    for session in ("s0", "s1", "s2"):
        run = intake.run(session)
        assert (run.started, run.ended, run.tasks, run.local_hits) == (7, 7, 4, 2)


def test_runs_are_numbered_as_they_come(intake: Intake) -> None:
    sessions = [f"session {n * 7919 % 500}" for n in range(500)]
    intake.load(*(intake.batch(*task(LOCAL_HIT, session=session)) for session in sessions))
    with intake.store.cursor() as cursor:
        found = cursor.execute("SELECT session_id FROM runs ORDER BY id").fetchall()
    assert [session for (session,) in found] == sessions


def test_events_are_numbered_as_they_come(intake: Intake) -> None:
    names = [f"{n * 7919 % 5000:016x}" if n % 3 else f"odd {n}" for n in range(5000)]
    events = [CacheEvent(f"s{n % 700}", "REMOTE", "HIT", name) for n, name in enumerate(names)]
    intake.artifacts.known = dict.fromkeys(names[::2], 5.0)
    intake.load(*(intake.batch(*events[n : n + 50]) for n in range(0, 5000, 50)))
    found = intake.store.events(EventFilter("team_a", limit=10_000))
    assert [record.hash for record in found] == names[::-1]


# Tasks


def test_a_late_batch_changes_the_run_it_belongs_to(intake: Intake) -> None:
    intake.load(intake.batch(*task(LOCAL_MISS, REMOTE_MISS), at=1))
    assert intake.run()[4:9] == (1, 0, 0, 0, 0)
    remote = intake.load(intake.batch(*task(REMOTE_HIT, ms=30), at=2))
    assert intake.run()[4:9] == (1, 0, 1, 0, 30)
    assert remote.totals == RunTotalsDelta(1, 0, 0, 0, 1, 0, 30)
    local = intake.load(intake.batch(*task(LOCAL_HIT, ms=20), at=0))
    assert intake.run()[4:9] == (1, 1, 0, 20, 0)
    assert local.totals == RunTotalsDelta(1, 0, 0, 1, -1, 20, -30)
    longer = intake.load(intake.batch(*task(REMOTE_HIT, LOCAL_HIT, ms=50), at=3))
    assert intake.run()[2:] == (0, 3, 1, 1, 0, 50, 0, 6, 2, 0, 0)
    assert longer.totals == RunTotalsDelta(2, 0, 0, 0, 0, 30, 0)


def test_a_run_that_is_touched_by_many_batches_of_a_segment_changes_once(intake: Intake) -> None:
    intake.load(intake.batch(*task(LOCAL_MISS)))
    intake.load(*(intake.batch(*task(LOCAL_HIT, name=f"h{n % 9}", ms=10)) for n in range(90)))
    assert intake.run()[4:] == (10, 9, 0, 90, 0, 91, 81, 0, 0)


@pytest.mark.parametrize(
    ("told", "saved", "anomalies"),
    [
        (0.49, 0, 0), (0.5, 1, 0), (1.5, 2, 0), (-0.0, 0, 0), (-0.1, 0, 1), (-1e300, 0, 1),
        (MAX_DURATION_MS - 0.5, MAX_DURATION_MS, 0), (MAX_DURATION_MS, MAX_DURATION_MS, 0),
        (MAX_DURATION_MS + 0.1, MAX_DURATION_MS, 1), (1e300, MAX_DURATION_MS, 1),
    ],
)  # fmt: skip
def test_odd_durations_are_capped_and_counted(
    intake: Intake, told: float, saved: int, anomalies: int
) -> None:
    intake.load(intake.batch(*task(LOCAL_HIT, ms=told)))
    assert (intake.run().local_ms, intake.run().anomalies) == (saved, anomalies)


def test_a_session_of_very_many_tasks_in_many_segments_is_counted_exactly(intake: Intake) -> None:
    segments, each = 20, 10_000
    for number in range(segments):
        new = [f"{number * each + n:016x}" for n in range(each)]
        old = [f"{n:016x}" for n in range(0, number * each, 50)]
        batches = [
            intake.batch(*miss_all(new[n : n + 500]), *hit_all(old[n // 50 : n // 50 + 10]))
            for n in range(0, each, 500)
        ]
        intake.load(*batches, intake.batch(*hit_all(new[::2])))
    run = intake.run()
    tasks, hits = segments * each, segments * each // 2
    assert (run.tasks, run.local_hits, run.local_ms) == (tasks, hits, hits * MAX_DURATION_MS)
    assert run.events - run.repeats == run.tasks + run.local_hits
    assert run.anomalies == run.events - run.tasks


def miss_all(names: Iterable[str]) -> list[CacheEvent]:
    return [CacheEvent("s", "LOCAL", "MISS", name) for name in names]


def hit_all(names: Iterable[str]) -> list[CacheEvent]:
    """Each of which tells that it saved much more than can be."""
    return [CacheEvent("s", "LOCAL", "HIT", name, 1e12) for name in names]


def test_hashes_that_are_nearly_the_same_are_different_tasks(intake: Intake) -> None:
    names = [
        NAME, NAME.upper(), f"0x{NAME}", f"{NAME}\n", f"\0{NAME}", NAME[:-1], f"0{NAME}", "",
        "0" * 16, "0", "0_00000000000000", "\uff10" * 16, "f" * 16, "f" * 64,
    ]  # fmt: skip
    for name in names:
        intake.load(intake.batch(*task(LOCAL_MISS, LOCAL_HIT, name=name)))
    assert (intake.run().tasks, intake.run().repeats) == (len(names), 0)
    found = intake.store.events(EventFilter("team_a", limit=100))
    assert [record.hash for record in found] == [name for name in names[::-1] for _ in range(2)]
    for name in names:
        assert len(intake.store.events(EventFilter("team_a", hash=name))) == 2


def test_a_hash_that_is_made_to_look_like_another_confuses_no_other_team(intake: Intake) -> None:
    with intake.store.cursor() as cursor:
        row = cursor.execute("SELECT printf('%016x', md5_number_lower('odd'))").fetchone()
    assert row is not None
    [twin] = row
    intake.load(intake.batch(*task(LOCAL_HIT, name="odd"), *task(LOCAL_HIT, name=twin)))
    intake.load(intake.batch(*task(LOCAL_HIT, name=twin), team="team_b"))
    [record] = intake.store.events(EventFilter("team_b"))
    assert record.hash == twin
    assert intake.run(team="team_b").tasks == 1


# What artifacts know


def test_a_remote_hit_that_tells_nothing_saves_what_its_artifact_took(intake: Intake) -> None:
    intake.artifacts.known = {NAME: 700.4}
    untold = CacheEvent("s", "REMOTE", "HIT", NAME)
    intake.load(intake.batch(*task(LOCAL_MISS), untold, *task(REMOTE_HIT, ms=0.0)))
    assert intake.run().remote_ms == 700


def test_only_remote_hits_that_tell_nothing_are_looked_up(intake: Intake) -> None:
    intake.load(
        intake.batch(
            *task(REMOTE_HIT, name="told", ms=5),
            *task(LOCAL_HIT, LOCAL_MISS, REMOTE_MISS, name="local"),
            *task(REMOTE_HIT, name="untold"),
        )
    )
    assert intake.artifacts.asked == [{"untold"}]


def test_what_an_artifact_took_is_remembered_when_it_is_gone(intake: Intake) -> None:
    intake.artifacts.known = {NAME: 700.0}
    intake.load(intake.batch(*task(REMOTE_HIT)))
    intake.artifacts.known = {}
    loaded = intake.load(intake.batch(*task(REMOTE_HIT, LOCAL_MISS)))
    assert intake.run().remote_ms == 700
    assert loaded.totals == RunTotalsDelta(2, 0, 0, 0, 0, 0, 0)


def test_artifacts_of_impossible_durations_are_capped_and_counted(intake: Intake) -> None:
    intake.artifacts.known = {"long": 1e15, "negative": -5.0}
    intake.load(intake.batch(*task(REMOTE_HIT, name="long"), *task(REMOTE_HIT, name="negative")))
    assert (intake.run().remote_ms, intake.run().anomalies) == (MAX_DURATION_MS, 2)


def test_while_artifacts_cannot_be_asked_nothing_is_taken_in_and_nothing_lost(
    intake: Intake,
) -> None:
    intake.load(intake.batch(*task(LOCAL_MISS)))
    came = [intake.batch(*task(REMOTE_HIT), at=n) for n in range(3)]
    intake.artifacts.away = True
    for _ in range(2):
        with pytest.raises(DatabaseError):
            intake.load(*came)
        assert intake.run().events == 1
    intake.artifacts.away = False
    assert intake.load(*came) == LoadResult(3)
    assert intake.run()[4:7] == (1, 0, 1)


# What cannot be loaded


@pytest.mark.parametrize(
    "item",
    [
        {"sessionId": "s", "source": "CLOUD", "event": "HIT", "hash": "h"},
        {"sessionId": "s", "source": "LOCAL", "event": "PUT", "hash": "h"},
        {"sessionId": "s", "source": "LOCAL", "event": "HIT"},
        {"source": "LOCAL", "event": "HIT", "hash": "h"},
        None,
    ],
)
def test_what_cannot_be_loaded_is_told_before_and_when_it_is_tried(
    intake: Intake, item: dict[str, str] | None
) -> None:
    sound = wire.encode_batch(intake.batch(*task(LOCAL_HIT)))
    poisoned = intake.folder / "poisoned.ndjson"
    line = wire.encode_batch(intake.batch()).replace(b"[]", json.dumps([item]).encode())
    poisoned.write_bytes(sound + line)
    assert intake.store.check(poisoned)
    with pytest.raises(InvalidSegment):
        intake.store.load(poisoned, "poisoned")
    assert intake.store.events(EventFilter("team_a")) == []
