"""Exports: the same rows in every format and chunk size, interruption, and cleanup."""

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
from hitrate.analytics.export.datasets import Chunk, DatasetName, Fetch
from hitrate.analytics.export.formats import FORMATS, Column, Format
from hitrate.analytics.export.jobs import MAX_PER_TEAM, ExportJob
from hitrate.analytics.export.routes import ExportResponse
from hitrate.analytics.filters import Filters, ReportQuery
from hitrate.analytics.period import Period
from hitrate.csv_safety import FORMULA_PREFIXES
from hitrate.errors import RateLimited, ServiceUnavailable
from hitrate.events.wire import Batch, CacheEvent
from tests.support.analytics_fixture import (
    OTHER_TEAM_ID,
    TEAM_ID,
    TEAM_TOKEN,
    USER_EMAIL,
    USER_TOKEN,
    AnalyticsFixture,
    EventStoreFixture,
    team,
)
from tests.support.event_strategies import ARTIFACT_DURATIONS, batches, splits
from tests.support.export_harness import (
    COLUMNS,
    READERS,
    ExportHarness,
    Rows,
    export_harness,
    parquet_types,
)
from tests.support.reference_analytics import Runs, runs_of, runs_started_in, totals_of
from tests.support.report_comparison import FILTER_CASES, milliseconds
from tests.support.server import eventually

DATASETS = sorted(COLUMNS)
ALL_TIME = Period(0, 4_102_444_800_000)
ALL = ReportQuery(TEAM_ID, ALL_TIME)
START_MS = 1_800_000_000_000


@pytest.fixture(scope="module", autouse=True)
def _artifacts(analytics: AnalyticsFixture) -> None:
    """Store artifacts with some of the hashes."""
    analytics.add_artifacts(ARTIFACT_DURATIONS)


@pytest.fixture
def event_store(analytics: AnalyticsFixture) -> Iterator[EventStoreFixture]:
    with analytics.event_store() as event_store:
        yield event_store


def batch(number: int, *events: CacheEvent, **changes: Any) -> Batch:
    """Create a distinct batch with its own time; by default, ten events of one run."""
    items = list(events) or [task(f"{number:08x}{n:08x}", f"run {number}") for n in range(10)]
    defaults = {
        "team": TEAM_ID,
        "token": TEAM_TOKEN,
        "ci": None,
        "interactive": None,
        "agent": None,
    }
    fields = {**defaults, "received_at": START_MS + number, "digest": str(number), "events": items}
    return Batch(**{**fields, **changes})


def task(name: str, session: str = "run", duration: float = 7.0) -> CacheEvent:
    return CacheEvent(session, "REMOTE", "HIT", name, duration)


def load(event_store: EventStoreFixture, *sent: Batch) -> None:
    event_store.load(f"segment with {sent[0].digest}", sent)


# Content


def as_batches(events: Rows, team_id: str) -> list[Batch]:
    """Convert exported events to batches of one event each."""
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
                    # The duration of the artifact applies to remote hits without one.
                    event["duration"] or event["artifactDuration"] or 0.0,
                )
            ],
        )
        for event in events
    ]


def assert_recomputed(events: Rows, runs: Rows, sent: Runs, query: ReportQuery) -> None:
    """Assert that exported events and exported runs both equal the reference."""
    from_events = runs_of(as_batches(events, query.team_id), {})
    for row in runs:
        expected = totals_of([sent[query.team_id, row["sessionId"]]])
        actual = totals_of([from_events[query.team_id, row["sessionId"]]])
        resent = sent[query.team_id, row["sessionId"]].resent
        assert actual._replace(duplicates=actual.duplicates + resent) == expected
        assert row == {**row, **export_columns(expected)}


def export_columns(expected: Any) -> dict[str, Any]:
    """Return totals as columns of the export."""
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
def test_exported_events_and_runs_match_reference_for_any_chunk_size(
    analytics: AnalyticsFixture, data: st.DataObject, sent: list[Batch], rows: int
) -> None:
    from_ms = data.draw(st.sampled_from([batch.received_at for batch in sent]))
    query = ReportQuery(
        data.draw(st.sampled_from((TEAM_ID, OTHER_TEAM_ID))), Period(from_ms, ALL_TIME.to_ms)
    )
    with (
        analytics.event_store() as event_store,
        export_harness(analytics, event_store, rows) as harness,
    ):
        event_store.load_all(data.draw(splits(sent), label="segments"))
        events, runs = (harness.rows(dataset, "ndjson", query) for dataset in ("events", "runs"))
        assert len(events) == event_store.reports.summary(query).events
        assert len(runs) == len(
            runs_started_in(runs_of(sent), query.team_id, from_ms, ALL_TIME.to_ms)
        )
        assert_recomputed(events, runs, runs_of(sent, ARTIFACT_DURATIONS), query)
        assert harness.leftovers() == []


@settings(max_examples=8)
@given(st.data(), batches(), st.integers(1, 9))
def test_all_formats_have_the_same_rows_for_any_text(
    analytics: AnalyticsFixture, data: st.DataObject, sent: list[Batch], rows: int
) -> None:
    query = ReportQuery(data.draw(st.sampled_from((TEAM_ID, OTHER_TEAM_ID))), ALL_TIME)
    with (
        analytics.event_store() as event_store,
        export_harness(analytics, event_store, rows) as harness,
    ):
        event_store.load_all([sent])
        for dataset in DATASETS:
            expected = harness.rows(dataset, "ndjson", query)
            assert harness.rows(dataset, "parquet", query) == expected
            assert harness.rows(dataset, "csv", query) == [in_csv(row) for row in expected]


def in_csv(row: dict[str, Any]) -> dict[str, Any]:
    """Convert a row to what CSV preserves: empty text reads as None."""
    return {name: None if value == "" else value for name, value in row.items()}


SENDERS: tuple[dict[str, Any], ...] = (
    {},
    {"ci": "GITHUB_ACTIONS", "interactive": False},
    {"ci": "GITLAB", "interactive": True},
    {"agent": "claude-code", "interactive": True, "token": USER_TOKEN},
)


@pytest.mark.parametrize("number", range(len(FILTER_CASES)))
def test_filters_select_runs_and_all_of_their_events(
    analytics: AnalyticsFixture, event_store: EventStoreFixture, number: int
) -> None:
    filters, matches = FILTER_CASES[number]
    sent = [batch(n, **changes) for n, changes in enumerate(SENDERS)]
    # From another client, but in the run of the first batch.
    sent.append(batch(9, task("late", "run 0"), ci="GITHUB_ACTIONS", agent="claude-code"))
    load(event_store, *sent)
    expected = {run.session for run in runs_of(sent).values() if matches(run)}
    query = ReportQuery(TEAM_ID, ALL_TIME, Filters(**filters))
    with export_harness(analytics, event_store) as harness:
        runs, events = (harness.rows(dataset, "ndjson", query) for dataset in ("runs", "events"))
    assert {run["sessionId"] for run in runs} == expected
    assert {event["sessionId"] for event in events} == expected
    assert len(events) == sum(run["events"] for run in runs)


def test_event_has_its_own_client_and_run_has_the_client_of_its_first_event(
    analytics: AnalyticsFixture, event_store: EventStoreFixture
) -> None:
    load(event_store, batch(1, task("a")), batch(2, task("b"), token=USER_TOKEN, ci="GITLAB"))
    with export_harness(analytics, event_store) as harness:
        events = harness.rows("events", "ndjson", ALL)
        [run] = harness.rows("runs", "ndjson", ALL)
    assert [(one["tokenId"], one["ci"]) for one in events] == [
        (TEAM_TOKEN, None),
        (USER_TOKEN, "GITLAB"),
    ]
    assert (run["tokenId"], run["ci"], run["events"]) == (TEAM_TOKEN, None, 2)
    assert (run["tokenLabel"], run["user"]) == (f"label of {TEAM_TOKEN}", None)


def test_run_has_label_and_user_of_its_token_if_the_token_exists(
    analytics: AnalyticsFixture, event_store: EventStoreFixture
) -> None:
    load(event_store, batch(1, token=USER_TOKEN), batch(2, token="tok_nobody_knows"))
    with export_harness(analytics, event_store) as harness:
        known_row, unknown_row = harness.rows("runs", "parquet", ALL)
    assert (known_row["tokenLabel"], known_row["user"]) == (f"label of {USER_TOKEN}", USER_EMAIL)
    assert (unknown_row["tokenLabel"], unknown_row["user"]) == (None, None)


@pytest.mark.parametrize("format_name", sorted(FORMATS))
def test_exported_artifacts_match_the_artifact_list(
    analytics: AnalyticsFixture, event_store: EventStoreFixture, format_name: str
) -> None:
    names = [name for team_id, name in ARTIFACT_DURATIONS if team_id == TEAM_ID]
    load(
        event_store,
        batch(1, *(task(name) for name in names[1:])),
        batch(2, task(names[1], "other")),
    )
    entries = event_store.artifact_reports.artifacts(ALL, "newest", 1000, 0, unused=False).artifacts
    with export_harness(analytics, event_store, chunk_rows=2) as harness:
        rows = harness.rows("artifacts", format_name, ALL)
        later = harness.rows(
            "artifacts", format_name, ReportQuery(TEAM_ID, Period(START_MS + 2, ALL_TIME.to_ms))
        )
    assert [row["hash"] for row in rows] == sorted(names)
    assert {row["hash"]: as_listed(row) for row in rows} == {
        one.hash: (
            one.size_bytes, one.duration_ms, one.created_at, one.last_used_at, one.dirty,
            one.hits.local, one.hits.remote, one.time_saved_ms, one.sender.token_label,
        )
        for one in entries
    }  # fmt: skip
    assert [row["remoteHits"] for row in later if row["hash"] == names[1]] == [1]


def as_listed(row: dict[str, Any]) -> tuple[Any, ...]:
    return (
        row["sizeBytes"], row["durationMs"], row["createdAt"], row["lastUsedAt"], row["dirty"],
        row["localHits"], row["remoteHits"], row["timeSavedMs"], row["tokenLabel"],
    )  # fmt: skip


@pytest.mark.parametrize("format_name", sorted(FORMATS))
@pytest.mark.parametrize("dataset", DATASETS)
def test_empty_export_has_all_columns_and_no_rows(
    analytics: AnalyticsFixture,
    event_store: EventStoreFixture,
    dataset: DatasetName,
    format_name: str,
) -> None:
    unknown_team = ReportQuery("nobody", ALL_TIME)
    with export_harness(analytics, event_store) as harness:
        content = harness.content(dataset, format_name, unknown_team)
    assert READERS[format_name](content) == []
    match format_name:
        case "ndjson":
            assert content == b""
        case "csv":
            assert content.decode() == ",".join(COLUMNS[dataset]) + "\r\n"
        case "parquet":
            assert list(parquet_types(content)) == COLUMNS[dataset]


def test_parquet_columns_have_typed_values(
    analytics: AnalyticsFixture, event_store: EventStoreFixture
) -> None:
    load(event_store, batch(1))
    with export_harness(analytics, event_store) as harness:
        events, runs, artifacts = (
            parquet_types(harness.content(dataset, "parquet", ALL))
            for dataset in ("events", "runs", "artifacts")
        )
    assert {events[name] for name in ("receivedAt",)} == {"TIMESTAMP"}
    assert {runs[name] for name in ("startedAt", "endedAt")} == {"TIMESTAMP"}
    assert {artifacts[name] for name in ("createdAt", "lastUsedAt")} == {"TIMESTAMP"}
    assert {runs[name] for name in ("tasks", "events", "timeSavedLocalMs")} == {"BIGINT"}
    assert {events["duration"], events["artifactDuration"], runs["hitRate"]} == {"DOUBLE"}
    assert {events["interactive"], artifacts["dirty"]} == {"BOOLEAN"}


def test_csv_escapes_spreadsheet_formulas(
    analytics: AnalyticsFixture, event_store: EventStoreFixture
) -> None:
    formulas = [f"{start}1+1" for start in FORMULA_PREFIXES]
    safe = ["1+1", "'=1+1", " =1+1", "\0=1", "a\n=1"]
    load(
        event_store,
        batch(1, *(task(text, text) for text in formulas + safe), ci="=1", agent="@x"),
    )
    with export_harness(analytics, event_store) as harness:
        rows = harness.rows("events", "csv", ALL)
        runs = harness.rows("runs", "csv", ALL)
        exact = harness.rows("events", "ndjson", ALL)
    escaped = [f"'{text}" for text in formulas] + safe
    assert [row["hash"] for row in rows] == [row["sessionId"] for row in rows] == escaped
    assert sorted(row["sessionId"] for row in runs) == sorted(escaped)
    assert {(row["ci"], row["agent"]) for row in rows + runs} == {("'=1", "'@x")}
    assert [row["hash"] for row in exact] == formulas + safe


def test_csv_does_not_escape_negative_numbers(
    analytics: AnalyticsFixture, event_store: EventStoreFixture
) -> None:
    load(event_store, batch(1, task("a", duration=-0.5)))
    with export_harness(analytics, event_store) as harness:
        assert b",-0.5," in harness.content("events", "csv", ALL)


# Chunks and files


def test_export_excludes_events_loaded_after_its_start(
    analytics: AnalyticsFixture, event_store: EventStoreFixture
) -> None:
    load(event_store, *(batch(number) for number in range(5)))
    with export_harness(analytics, event_store, chunk_rows=10) as harness:
        files = harness.files("events", "ndjson", ALL)
        contents = list(islice(files, 2))
        load(event_store, *(batch(number) for number in range(100, 120)))
        contents += files
    assert len(contents) == 1 + 5
    assert len(b"".join(contents).splitlines()) == 50


def test_no_transaction_is_open_between_files(
    analytics: AnalyticsFixture, event_store: EventStoreFixture
) -> None:
    load(event_store, *(batch(number) for number in range(5)))
    with export_harness(analytics, event_store, chunk_rows=10) as harness:
        files = harness.files("events", "ndjson", ALL)
        assert len(list(islice(files, 3))) == 3
        load(event_store, batch(9, task("again", "run 1")))
        with event_store.duckdb.cursor() as cursor:
            cursor.execute("CHECKPOINT")  # fails while a query reads an older snapshot
        assert len(list(files)) == 3


@pytest.mark.parametrize("rows", [1, 7, 49, 50, 51, 1000])
def test_chunks_have_about_the_requested_number_of_rows(
    analytics: AnalyticsFixture, event_store: EventStoreFixture, rows: int
) -> None:
    for number in range(5):  # so that the ids of one team have gaps
        load(event_store, batch(number), batch(100 + number, team=OTHER_TEAM_ID))
    with export_harness(analytics, event_store, rows) as harness:
        sizes = [len(part.splitlines()) for part in harness.files("events", "ndjson", ALL)][1:]
    assert sum(sizes) == 50
    assert all(rows <= size < rows + rows // 16 + 1 for size in sizes[:-1])
    assert 0 < sizes[-1] < rows + rows // 16 + 1


def test_file_is_unlinked_before_it_is_handed_over(
    analytics: AnalyticsFixture, event_store: EventStoreFixture
) -> None:
    load(event_store, batch(1))
    with export_harness(analytics, event_store) as harness:
        for format_name in FORMATS:
            files = harness.files("events", format_name, ALL)
            next(files)
            next(files)
            for path in harness.leftovers():
                assert path.is_dir()
                assert path.stat().st_mode & 0o777 == 0o700
            files.close()  # type: ignore[attr-defined]  # reason: a generator
            assert harness.leftovers() == []


def test_open_removes_files_of_a_crashed_server(
    analytics: AnalyticsFixture, event_store: EventStoreFixture
) -> None:
    leftover = event_store.directory / "exports" / "tmp1" / "0"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half a chunk")
    with export_harness(analytics, event_store) as harness:
        assert harness.leftovers() == []


def test_start_rejects_more_than_max_per_team(
    analytics: AnalyticsFixture, event_store: EventStoreFixture
) -> None:
    with export_harness(analytics, event_store) as harness:
        start, dataset = harness.manager.start, harness.datasets.create("runs", ALL)
        csv_format = FORMATS["csv"]
        jobs = [start(TEAM_ID, dataset, csv_format) for _ in range(MAX_PER_TEAM)]
        with pytest.raises(RateLimited, match="already runs") as raised:
            start(TEAM_ID, dataset, csv_format)
        assert raised.value.retry_after_s > 0
        start(OTHER_TEAM_ID, dataset, csv_format).close()
        for _ in range(2):
            jobs[0].close()
        start(TEAM_ID, dataset, csv_format)
        with pytest.raises(RateLimited):
            start(TEAM_ID, dataset, csv_format)


# Failures and interruption


def test_export_fails_with_advice_when_free_space_is_low(
    analytics: AnalyticsFixture, event_store: EventStoreFixture
) -> None:
    load(event_store, batch(1))
    with export_harness(analytics, event_store, min_free_bytes=2**62) as harness:
        for format_name in FORMATS:
            with pytest.raises(ServiceUnavailable, match=r"Free some space, or export less"):
                harness.content("events", format_name, ALL)
        assert harness.leftovers() == []


def test_single_file_needs_free_space_for_all_chunks(
    analytics: AnalyticsFixture, event_store: EventStoreFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(event_store, *(batch(number) for number in range(10)))
    monkeypatch.setattr(jobs, "free_bytes", lambda _path: 30_000)
    with export_harness(analytics, event_store, chunk_rows=10) as harness:
        assert len(harness.rows("events", "csv", ALL)) == 100
        with pytest.raises(ServiceUnavailable, match="Too little free disk space"):
            harness.content("events", "parquet", ALL)
        assert harness.leftovers() == []
    monkeypatch.setattr(jobs, "free_bytes", lambda _path: 300_000)
    with export_harness(analytics, event_store, chunk_rows=10) as harness:
        assert len(harness.rows("events", "parquet", ALL)) == 100


@pytest.mark.parametrize("format_name", sorted(FORMATS))
def test_export_fails_when_the_event_store_is_unavailable(
    analytics: AnalyticsFixture, event_store: EventStoreFixture, format_name: str
) -> None:
    event_store.duckdb.close()
    with (
        export_harness(analytics, event_store) as harness,
        pytest.raises(ServiceUnavailable, match="export failed"),
    ):
        harness.content("events", format_name, ALL)


def test_export_raises_when_a_later_chunk_fails(
    analytics: AnalyticsFixture, event_store: EventStoreFixture
) -> None:
    load(event_store, *(batch(number) for number in range(5)))
    with export_harness(analytics, event_store, chunk_rows=10) as harness:
        files = harness.files("events", "ndjson", ALL)
        assert len(list(islice(files, 3))) == 3
        event_store.duckdb.close()
        with pytest.raises(ServiceUnavailable):
            next(files)
        assert harness.leftovers() == []


class EndlessDataset:
    """A dataset whose query takes very long."""

    columns: ClassVar[tuple[Column, ...]] = (Column("n", "n"),)
    chunk_rows = 1

    def query(self, _file_format: Format, /) -> str:
        return "SELECT sum(a.range + b.range) AS n FROM range(200000) a, range(20000) b"

    def chunks(self, _fetch: Fetch, _directory: Path, /) -> Iterator[Chunk]:
        yield Chunk({}, 1)


def start_endless(
    harness: ExportHarness, format_name: str
) -> "tuple[ExportJob, Future[BinaryIO | None]]":
    """Start a job and wait until its query runs."""
    job = harness.manager.start(TEAM_ID, EndlessDataset(), FORMATS[format_name])
    file = job.next_file()
    eventually(harness.count_files)
    return job, file


@pytest.mark.parametrize("format_name", sorted(FORMATS))
def test_close_interrupts_the_query_of_a_job(
    analytics: AnalyticsFixture, event_store: EventStoreFixture, format_name: str
) -> None:
    with export_harness(analytics, event_store) as harness:
        job, file = start_endless(harness, format_name)
        job.close()
        with pytest.raises(ServiceUnavailable, match="stopped"):
            file.result(10)
        with pytest.raises(ServiceUnavailable, match="stopped"):
            job.next_file().result(10)
        assert harness.leftovers() == []


def test_manager_close_stops_all_jobs_and_rejects_new_ones(
    analytics: AnalyticsFixture, event_store: EventStoreFixture
) -> None:
    with export_harness(analytics, event_store) as harness:
        files = [start_endless(harness, "csv")[1] for _ in range(2)]
        waiting = harness.files("runs", "csv", ALL)
        next(waiting)
        harness.manager.close()
        for file in files:
            with pytest.raises(ServiceUnavailable, match="stopped"):
                file.result(10)
        with pytest.raises(ServiceUnavailable, match="stopped"):
            next(waiting)
        with pytest.raises(ServiceUnavailable, match="stopped"):
            harness.manager.start(TEAM_ID, EndlessDataset(), FORMATS["csv"])
        harness.manager.close()
        harness.manager.open()
        assert harness.rows("runs", "csv", ALL) == []


@pytest.mark.parametrize("format_name", sorted(FORMATS))
def test_disconnect_interrupts_the_query_of_a_job(
    analytics: AnalyticsFixture, event_store: EventStoreFixture, format_name: str
) -> None:
    async def send(_message: Any) -> None:
        raise AssertionError("nothing may be sent")

    async def receive() -> Any:
        await asyncio.to_thread(eventually, harness.count_files)
        return {"type": "http.disconnect"}

    with export_harness(analytics, event_store) as harness:
        response = ExportResponse(
            harness.manager, team(TEAM_ID), "name", EndlessDataset(), FORMATS[format_name]
        )
        with pytest.raises(ServiceUnavailable, match="stopped"):
            asyncio.run(response({"path": "/"}, receive, send))  # type: ignore[arg-type]  # reason: a partial scope
        assert harness.leftovers() == []


def test_response_stops_when_the_client_does_not_read(
    analytics: AnalyticsFixture, event_store: EventStoreFixture
) -> None:
    load(event_store, *(batch(number) for number in range(5)))

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.get_running_loop().create_future()

    async def receive() -> Any:
        return await asyncio.get_running_loop().create_future()

    with export_harness(analytics, event_store) as harness:
        harness.manager.send_timeout_s = 0.05
        response = ExportResponse(
            harness.manager,
            team(TEAM_ID),
            "name",
            harness.datasets.create("events", ALL),
            FORMATS["csv"],
        )
        with pytest.raises(ServiceUnavailable, match="stopped reading"):
            asyncio.run(response({"path": "/"}, receive, send))  # type: ignore[arg-type]  # reason: a partial scope
        assert harness.leftovers() == []
        for _ in range(MAX_PER_TEAM):
            harness.manager.start(TEAM_ID, harness.datasets.create("runs", ALL), FORMATS["csv"])
