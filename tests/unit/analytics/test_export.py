"""ExportManager: the same rows in each format, in whatever parts, from which every number can be
recomputed; and nothing left behind."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitrate.analytics.export import jobs
from hitrate.analytics.export.datasets import Ask, Part
from hitrate.analytics.export.formats import FORMS, Column, Form
from hitrate.analytics.export.jobs import OF_A_TEAM_MOST, Export
from hitrate.analytics.export.routes import ExportAnswer
from hitrate.analytics.filters import Filters, Scope
from hitrate.analytics.period import Period
from hitrate.errors import RateLimited, ServiceUnavailable
from hitrate.events.wire import Batch, CacheEvent
from hitrate.teams import audit
from tests.support.analytics_fixture import (
    OF_PERSON,
    OF_TEAM,
    OTHERS,
    OURS,
    PERSON,
    Books,
    Ledger,
    team,
)
from tests.support.event_strategies import MADE_MS, batches, splits
from tests.support.export_harness import COLUMNS, READ, Press, Rows, parquet_types, press
from tests.support.reference_analytics import Runs, begun, counts, fold
from tests.support.report_comparison import FILTERED, milliseconds
from tests.support.server import eventually

TABLES = sorted(COLUMNS)
EVER = Period(0, 4_102_444_800_000)
ALL = Scope(OURS, EVER)
START_MS = 1_800_000_000_000


@pytest.fixture(scope="module", autouse=True)
def _artifacts(books: Books) -> None:
    """Some of the hashes are those of stored artifacts."""
    books.add_artifacts(MADE_MS)


@pytest.fixture
def ledger(books: Books) -> Iterator[Ledger]:
    with books.ledger() as ledger:
        yield ledger


def batch(number: int, *events: CacheEvent, **changes: Any) -> Batch:
    """A batch of its own that came at its own moment; by default of ten events of one run."""
    items = list(events) or [task(f"{number:08x}{n:08x}", f"run {number}") for n in range(10)]
    known = {"team": OURS, "token": OF_TEAM, "ci": None, "interactive": None, "agent": None}
    told = {**known, "received_at": START_MS + number, "digest": str(number), "events": items}
    return Batch(**{**told, **changes})


def task(name: str, session: str = "run", duration: float = 7.0) -> CacheEvent:
    return CacheEvent(session, "REMOTE", "HIT", name, duration)


def load(ledger: Ledger, *came: Batch) -> None:
    ledger.load(f"segment with {came[0].digest}", came)


# What an export says


def as_batches(events: Rows, team_id: str) -> list[Batch]:
    """Exported events as if each had come by itself."""
    return [
        Batch(
            team_id,
            event["tokenId"],
            milliseconds(event["receivedAt"]),
            event["ci"],
            event["interactive"],
            event["agent"],
            str(event["id"]),
            [
                CacheEvent(
                    event["sessionId"],
                    event["source"],
                    event["event"],
                    event["hash"],
                    # What a remote hit does not tell, its artifact does.
                    event["duration"] or event["artifactDuration"] or 0.0,
                )
            ],
        )
        for event in events
    ]


def assert_recomputed(events: Rows, runs: Rows, came: Runs, scope: Scope) -> None:
    """The exported events come to the exported runs, and both to what the reference says."""
    from_events = fold(as_batches(events, scope.team_id), {})
    for row in runs:
        expected = counts([came[scope.team_id, row["sessionId"]]])
        told = counts([from_events[scope.team_id, row["sessionId"]]])
        resent = came[scope.team_id, row["sessionId"]].resent
        assert told._replace(duplicates=told.duplicates + resent) == expected
        assert row == {**row, **shown_counts(expected)}


def shown_counts(expected: Any) -> dict[str, Any]:
    """In the words of the export."""
    return {
        "tasks": expected.tasks,
        "localHits": expected.local_hits,
        "remoteHits": expected.remote_hits,
        "misses": expected.misses,
        "hitRate": expected.hit_rate,
        "timeSavedLocalMs": expected.local_ms,
        "timeSavedRemoteMs": expected.remote_ms,
        "events": expected.events,
        "duplicates": expected.duplicates,
        "anomalies": expected.anomalies,
    }


@settings(max_examples=12)
@given(st.data(), batches(), st.integers(1, 9))
def test_exports_in_any_parts_tell_what_the_events_come_to(
    books: Books, data: st.DataObject, came: list[Batch], rows: int
) -> None:
    begin = data.draw(st.sampled_from([batch.received_at for batch in came]))
    scope = Scope(data.draw(st.sampled_from((OURS, OTHERS))), Period(begin, EVER.to_ms))
    with books.ledger() as ledger, press(books, ledger, rows) as exports:
        ledger.load_all(data.draw(splits(came), label="segments"))
        events, runs = (exports.rows(what, "ndjson", scope) for what in ("events", "runs"))
        assert len(events) == ledger.reports.summary(scope).events
        assert len(runs) == len(begun(fold(came), scope.team_id, begin, EVER.to_ms))
        assert_recomputed(events, runs, fold(came, MADE_MS), scope)
        assert exports.leftovers() == []


@settings(max_examples=8)
@given(st.data(), batches(), st.integers(1, 9))
def test_all_formats_have_the_same_rows_whatever_people_write(
    books: Books, data: st.DataObject, came: list[Batch], rows: int
) -> None:
    scope = Scope(data.draw(st.sampled_from((OURS, OTHERS))), EVER)
    with books.ledger() as ledger, press(books, ledger, rows) as exports:
        ledger.load_all([came])
        for what in TABLES:
            told = exports.rows(what, "ndjson", scope)
            assert exports.rows(what, "parquet", scope) == told
            assert exports.rows(what, "csv", scope) == [in_csv(row) for row in told]


def in_csv(row: dict[str, Any]) -> dict[str, Any]:
    """An empty text reads as none."""
    return {name: None if value == "" else value for name, value in row.items()}


SENDERS: tuple[dict[str, Any], ...] = (
    {},
    {"ci": "GITHUB_ACTIONS", "interactive": False},
    {"ci": "GITLAB", "interactive": True},
    {"agent": "claude-code", "interactive": True, "token": OF_PERSON},
)


@pytest.mark.parametrize("number", range(len(FILTERED)))
def test_filters_choose_runs_and_with_them_all_of_their_events(
    books: Books, ledger: Ledger, number: int
) -> None:
    told, matches = FILTERED[number]
    came = [batch(n, **changes) for n, changes in enumerate(SENDERS)]
    # Of another sender, but of the run that the first has begun.
    came.append(batch(9, task("late", "run 0"), ci="GITHUB_ACTIONS", agent="claude-code"))
    load(ledger, *came)
    expected = {run.session for run in fold(came).values() if matches(run)}
    scope = Scope(OURS, EVER, Filters(**told))
    with press(books, ledger) as exports:
        runs, events = (exports.rows(what, "ndjson", scope) for what in ("runs", "events"))
    assert {run["sessionId"] for run in runs} == expected
    assert {event["sessionId"] for event in events} == expected
    assert len(events) == sum(run["events"] for run in runs)


def test_an_event_tells_who_sent_it_and_a_run_who_began_it(books: Books, ledger: Ledger) -> None:
    load(ledger, batch(1, task("a")), batch(2, task("b"), token=OF_PERSON, ci="GITLAB"))
    with press(books, ledger) as exports:
        events = exports.rows("events", "ndjson", ALL)
        [run] = exports.rows("runs", "ndjson", ALL)
    assert [(one["tokenId"], one["ci"]) for one in events] == [
        (OF_TEAM, None),
        (OF_PERSON, "GITLAB"),
    ]
    assert (run["tokenId"], run["ci"], run["events"]) == (OF_TEAM, None, 2)
    assert (run["tokenLabel"], run["user"]) == (f"label of {OF_TEAM}", None)


def test_runs_tell_what_their_token_and_its_person_are_called(books: Books, ledger: Ledger) -> None:
    load(ledger, batch(1, token=OF_PERSON), batch(2, token="tok_nobody_knows"))
    with press(books, ledger) as exports:
        known, unknown = exports.rows("runs", "parquet", ALL)
    assert (known["tokenLabel"], known["user"]) == (f"label of {OF_PERSON}", PERSON)
    assert (unknown["tokenLabel"], unknown["user"]) == (None, None)


@pytest.mark.parametrize("form", sorted(FORMS))
def test_artifacts_are_those_of_the_list_with_their_hits(
    books: Books, ledger: Ledger, form: str
) -> None:
    names = [name for team_id, name in MADE_MS if team_id == OURS]
    load(ledger, batch(1, *(task(name) for name in names[1:])), batch(2, task(names[1], "other")))
    listed = ledger.cache.artifacts(ALL, "newest", 1000, 0, unused=False).artifacts
    with press(books, ledger, rows=2) as exports:
        rows = exports.rows("artifacts", form, ALL)
        later = exports.rows("artifacts", form, Scope(OURS, Period(START_MS + 2, EVER.to_ms)))
    assert [row["hash"] for row in rows] == sorted(names)
    assert {row["hash"]: as_listed(row) for row in rows} == {
        one.hash: (
            one.size_bytes, one.duration_ms, one.created_at, one.last_used_at, one.dirty,
            one.hits.local, one.hits.remote, one.time_saved_ms, one.sender.token_label,
        )
        for one in listed
    }  # fmt: skip
    assert [row["remoteHits"] for row in later if row["hash"] == names[1]] == [1]


def as_listed(row: dict[str, Any]) -> tuple[Any, ...]:
    return (
        row["sizeBytes"], row["durationMs"], row["createdAt"], row["lastUsedAt"], row["dirty"],
        row["localHits"], row["remoteHits"], row["timeSavedMs"], row["tokenLabel"],
    )  # fmt: skip


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("what", TABLES)
def test_an_export_of_nothing_is_a_file_with_all_columns_and_no_rows(
    books: Books, ledger: Ledger, what: str, form: str
) -> None:
    nobodys = Scope("nobody", EVER)
    with press(books, ledger) as exports:
        content = exports.whole(what, form, nobodys)
    assert READ[form](content) == []
    match form:
        case "ndjson":
            assert content == b""
        case "csv":
            assert content.decode() == ",".join(COLUMNS[what]) + "\r\n"
        case "parquet":
            assert list(parquet_types(content)) == COLUMNS[what]


def test_parquet_has_the_types_that_things_have(books: Books, ledger: Ledger) -> None:
    load(ledger, batch(1))
    with press(books, ledger) as exports:
        events, runs, artifacts = (
            parquet_types(exports.whole(what, "parquet", ALL))
            for what in ("events", "runs", "artifacts")
        )
    assert {events[name] for name in ("receivedAt",)} == {"TIMESTAMP"}
    assert {runs[name] for name in ("startedAt", "endedAt")} == {"TIMESTAMP"}
    assert {artifacts[name] for name in ("createdAt", "lastUsedAt")} == {"TIMESTAMP"}
    assert {runs[name] for name in ("tasks", "events", "timeSavedLocalMs")} == {"BIGINT"}
    assert {events["duration"], events["artifactDuration"], runs["hitRate"]} == {"DOUBLE"}
    assert {events["interactive"], artifacts["dirty"]} == {"BOOLEAN"}


def test_csv_keeps_from_spreadsheets_what_the_export_of_the_audit_log_keeps_from_them(
    books: Books, ledger: Ledger
) -> None:
    formulas = [f"{start}1+1" for start in audit._FORMULA]
    harmless = ["1+1", "'=1+1", " =1+1", "\0=1", "a\n=1"]
    load(ledger, batch(1, *(task(text, text) for text in formulas + harmless), ci="=1", agent="@x"))
    with press(books, ledger) as exports:
        rows = exports.rows("events", "csv", ALL)
        runs = exports.rows("runs", "csv", ALL)
        exact = exports.rows("events", "ndjson", ALL)
    guarded = [f"'{text}" for text in formulas] + harmless
    assert [row["hash"] for row in rows] == [row["sessionId"] for row in rows] == guarded
    assert sorted(row["sessionId"] for row in runs) == sorted(guarded)
    assert {(row["ci"], row["agent"]) for row in rows + runs} == {("'=1", "'@x")}
    assert [row["hash"] for row in exact] == formulas + harmless


def test_a_negative_number_is_a_number_in_csv_too(books: Books, ledger: Ledger) -> None:
    load(ledger, batch(1, task("a", duration=-0.5)))
    with press(books, ledger) as exports:
        assert b",-0.5," in exports.whole("events", "csv", ALL)


# How it is made


def test_an_export_ends_with_what_was_there_when_it_began(books: Books, ledger: Ledger) -> None:
    load(ledger, *(batch(number) for number in range(5)))
    with press(books, ledger, rows=10) as exports:
        files = exports.files("events", "ndjson", ALL)
        seen = list(islice(files, 2))
        load(ledger, *(batch(number) for number in range(100, 120)))
        seen += files
    assert len(seen) == 1 + 5
    assert len(b"".join(seen).splitlines()) == 50


def test_no_transaction_is_open_while_a_part_is_sent(books: Books, ledger: Ledger) -> None:
    load(ledger, *(batch(number) for number in range(5)))
    with press(books, ledger, rows=10) as exports:
        files = exports.files("events", "ndjson", ALL)
        assert len(list(islice(files, 3))) == 3
        load(ledger, batch(9, task("again", "run 1")))
        with ledger.store.reading() as cursor:
            cursor.execute("CHECKPOINT")  # fails beside a query that reads what was before
        assert len(list(files)) == 3


@pytest.mark.parametrize("rows", [1, 7, 49, 50, 51, 1000])
def test_parts_have_about_as_many_rows_as_they_should(
    books: Books, ledger: Ledger, rows: int
) -> None:
    for number in range(5):  # the ids of the others lie between ours
        load(ledger, batch(number), batch(100 + number, team=OTHERS))
    with press(books, ledger, rows) as exports:
        sizes = [len(part.splitlines()) for part in exports.files("events", "ndjson", ALL)][1:]
    assert sum(sizes) == 50
    assert all(rows <= size < rows + rows // 16 + 1 for size in sizes[:-1])
    assert 0 < sizes[-1] < rows + rows // 16 + 1


def test_a_file_has_no_name_any_more_when_it_is_handed_over(books: Books, ledger: Ledger) -> None:
    load(ledger, batch(1))
    with press(books, ledger) as exports:
        for form in FORMS:
            files = exports.files("events", form, ALL)
            next(files)
            next(files)
            for path in exports.leftovers():
                assert path.is_dir()
                assert path.stat().st_mode & 0o777 == 0o700
            files.close()  # type: ignore[attr-defined]  # reason: a generator
            assert exports.leftovers() == []


def test_what_a_crash_left_is_removed_at_the_start(books: Books, ledger: Ledger) -> None:
    left = ledger.folder / "exports" / "tmp1" / "0"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half a part")
    with press(books, ledger) as exports:
        assert exports.leftovers() == []


def test_a_team_has_only_so_many_exports_under_way(books: Books, ledger: Ledger) -> None:
    with press(books, ledger) as exports:
        begin, table, form = exports.exports.begin, exports.tables.named("runs", ALL), FORMS["csv"]
        under_way = [begin(OURS, table, form) for _ in range(OF_A_TEAM_MOST)]
        with pytest.raises(RateLimited, match="under way") as refused:
            begin(OURS, table, form)
        assert refused.value.retry_after_s > 0
        exports.exports.end(begin(OTHERS, table, form))
        for _ in range(2):
            exports.exports.end(under_way[0])
        begin(OURS, table, form)
        with pytest.raises(RateLimited):
            begin(OURS, table, form)


# What stands in the way


def test_a_disk_without_room_is_refused_with_what_to_do(books: Books, ledger: Ledger) -> None:
    load(ledger, batch(1))
    with press(books, ledger, min_free_bytes=2**62) as exports:
        for form in FORMS:
            with pytest.raises(ServiceUnavailable, match=r"Free some, or ask for less"):
                exports.whole("events", form, ALL)
        assert exports.leftovers() == []


def test_a_whole_file_needs_room_for_all_of_its_parts(
    books: Books, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(ledger, *(batch(number) for number in range(10)))
    monkeypatch.setattr(jobs, "_free_bytes", lambda _folder: 30_000)
    with press(books, ledger, rows=10) as exports:
        assert len(exports.rows("events", "csv", ALL)) == 100
        with pytest.raises(ServiceUnavailable, match="too little room"):
            exports.whole("events", "parquet", ALL)
        assert exports.leftovers() == []
    monkeypatch.setattr(jobs, "_free_bytes", lambda _folder: 300_000)
    with press(books, ledger, rows=10) as exports:
        assert len(exports.rows("events", "parquet", ALL)) == 100


@pytest.mark.parametrize("form", sorted(FORMS))
def test_a_store_that_is_away_is_told_as_such(books: Books, ledger: Ledger, form: str) -> None:
    ledger.store.close()
    with (
        press(books, ledger) as exports,
        pytest.raises(ServiceUnavailable, match="cannot be made now"),
    ):
        exports.whole("events", form, ALL)


def test_what_fails_halfway_is_no_end(books: Books, ledger: Ledger) -> None:
    load(ledger, *(batch(number) for number in range(5)))
    with press(books, ledger, rows=10) as exports:
        files = exports.files("events", "ndjson", ALL)
        assert len(list(islice(files, 3))) == 3
        ledger.store.close()
        with pytest.raises(ServiceUnavailable):
            next(files)
        assert exports.leftovers() == []


class Endless:
    """Something to export that takes a while."""

    columns: ClassVar[tuple[Column, ...]] = (Column("n", "n"),)
    rows = 1

    def query(self, _form: Form, /) -> str:
        return "SELECT sum(a.range + b.range) AS n FROM range(200000) a, range(20000) b"

    def parts(self, _ask: Ask, _folder: Path, /) -> Iterator[Part]:
        yield Part({}, 1)


def begin_endless(press: Press, form: str) -> "tuple[Export, Future[BinaryIO | None]]":
    """An export that is at work."""
    begun = press.exports.begin(OURS, Endless(), FORMS[form])
    file = press.exports.next_file(begun)
    eventually(press.files_begun)
    return begun, file


@pytest.mark.parametrize("form", sorted(FORMS))
def test_an_export_that_is_ended_stops_what_it_does(
    books: Books, ledger: Ledger, form: str
) -> None:
    with press(books, ledger) as exports:
        begun, file = begin_endless(exports, form)
        exports.exports.end(begun)
        with pytest.raises(ServiceUnavailable, match="stopped"):
            file.result(10)
        with pytest.raises(ServiceUnavailable, match="stopped"):
            exports.exports.next_file(begun).result(10)
        assert exports.leftovers() == []


def test_a_server_that_stops_ends_all_exports_and_begins_none(books: Books, ledger: Ledger) -> None:
    with press(books, ledger) as exports:
        files = [begin_endless(exports, "csv")[1] for _ in range(2)]
        waiting = exports.files("runs", "csv", ALL)
        next(waiting)
        exports.exports.close()
        for file in files:
            with pytest.raises(ServiceUnavailable, match="stopped"):
                file.result(10)
        with pytest.raises(ServiceUnavailable, match="stopped"):
            next(waiting)
        with pytest.raises(ServiceUnavailable, match="stopped"):
            exports.exports.begin(OURS, Endless(), FORMS["csv"])
        exports.exports.close()
        exports.exports.open()
        assert exports.rows("runs", "csv", ALL) == []


@pytest.mark.parametrize("form", sorted(FORMS))
def test_what_is_made_for_a_client_that_goes_away_is_stopped(
    books: Books, ledger: Ledger, form: str
) -> None:
    async def send(_message: Any) -> None:
        raise AssertionError("nothing is there to be sent")

    async def receive() -> Any:
        await asyncio.to_thread(eventually, exports.files_begun)
        return {"type": "http.disconnect"}

    with press(books, ledger) as exports:
        answer = ExportAnswer(exports.exports, team(OURS), "name", Endless(), FORMS[form])
        with pytest.raises(ServiceUnavailable, match="stopped"):
            asyncio.run(answer({"path": "/"}, receive, send))  # type: ignore[arg-type]  # reason: all it looks at
        assert exports.leftovers() == []


def test_a_client_that_stops_reading_is_given_up(books: Books, ledger: Ledger) -> None:
    load(ledger, *(batch(number) for number in range(5)))

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.get_running_loop().create_future()

    async def receive() -> Any:
        return await asyncio.get_running_loop().create_future()

    with press(books, ledger) as exports:
        exports.exports.stalled_s = 0.05
        answer = ExportAnswer(
            exports.exports, team(OURS), "name", exports.tables.named("events", ALL), FORMS["csv"]
        )
        with pytest.raises(ServiceUnavailable, match="stopped reading"):
            asyncio.run(answer({"path": "/"}, receive, send))  # type: ignore[arg-type]  # reason: all it looks at
        assert exports.leftovers() == []
        for _ in range(OF_A_TEAM_MOST):
            exports.exports.begin(OURS, exports.tables.named("runs", ALL), FORMS["csv"])
