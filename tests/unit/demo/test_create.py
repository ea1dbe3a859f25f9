"""A demo team in a data directory: runs, transfers, artifacts, tokens and users."""

from collections import Counter
from pathlib import Path

from hitrate.db.engine import open_database
from hitrate.demo.create import NAME
from tests.support.demo_data import NOW, DemoDir, create_demo_dir, ms

_RUNS = """
SELECT session_id, started_at, ended_at, tasks, local_hits, remote_hits, local_ms, remote_ms,
       events, repeats, resent, anomalies, ci, interactive, agent
FROM runs r JOIN senders s ON s.id = r.sender ORDER BY r.id
"""
_TRANSFERS = """
SELECT moved_at, ci, interactive, agent, uploads, uploaded_bytes, downloads, downloaded_bytes
FROM transfers t JOIN senders s ON s.id = t.sender ORDER BY ALL
"""


def test_the_same_seed_creates_the_same_rows(demo_dir: DemoDir, tmp_path: Path) -> None:
    second = create_demo_dir(tmp_path / "again")
    for sql in (_RUNS, _TRANSFERS, "SELECT id, received_at, run, kind, hash, duration FROM events"):
        assert second.query(sql) == demo_dir.query(sql)


def test_stored_runs_equal_the_simulated_runs(demo_dir: DemoDir) -> None:
    stored = {row[0]: row for row in demo_dir.query(_RUNS)}
    assert stored.keys() == {run.session_id for run in demo_dir.runs}
    for run in demo_dir.runs:
        outcomes = Counter(result.outcome for result in run.tasks)
        _, _, ended_ms, *counts, resent, _, ci, interactive, agent = stored[run.session_id]
        assert counts[:3] == [len(run.tasks), outcomes["local_hit"], outcomes["remote_hit"]]
        resend_delay_ms = 2000 if resent else 0
        assert run.tasks[-1].at_ms <= ended_ms <= min(run.ended_ms + resend_delay_ms, ms(NOW))
        assert (ci, interactive, agent) == run.sender[1:]


def test_runs_are_stored_in_chronological_order(demo_dir: DemoDir) -> None:
    started = [row[1] for row in demo_dir.query(_RUNS)]
    assert started == sorted(started)


def test_the_summary_equals_the_stored_totals(demo_dir: DemoDir) -> None:
    summary = demo_dir.summary
    columns = "count(*), sum(tasks), sum(local_hits), sum(remote_hits), sum(local_ms + remote_ms)"
    [row] = demo_dir.query(f"SELECT {columns} FROM runs")
    assert row == (
        summary.runs,
        summary.tasks,
        summary.local_hits,
        summary.remote_hits,
        summary.time_saved_ms,
    )
    assert 0.4 < (summary.local_hits + summary.remote_hits) / summary.tasks < 0.95


def test_there_are_duplicates_and_one_anomaly(demo_dir: DemoDir) -> None:
    [(resent, anomalies)] = demo_dir.query("SELECT sum(resent), sum(anomalies) FROM runs")
    assert resent > 0
    assert anomalies == 1


def test_long_runs_send_several_batches_of_at_most_100_events(demo_dir: DemoDir) -> None:
    batches = demo_dir.query(
        "SELECT run, received_at, count(*) FROM events GROUP BY ALL ORDER BY run, received_at"
    )
    assert max(count for _, _, count in batches) == 100
    batches_by_run = Counter(run for run, _, _ in batches)
    assert max(batches_by_run.values()) >= 2


def test_each_miss_is_an_upload_and_each_remote_hit_a_download(demo_dir: DemoDir) -> None:
    [transfers] = demo_dir.query("SELECT sum(uploads), sum(downloads) FROM transfers")
    summary = demo_dir.summary
    assert transfers == (
        summary.tasks - summary.local_hits - summary.remote_hits,
        summary.remote_hits,
    )


def test_stored_artifacts_have_bodies_and_producers(demo_dir: DemoDir) -> None:
    engine = open_database(demo_dir.path)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT blob, size_bytes, hash, made_by, created_at, used_at FROM artifacts"
        ).all()
    engine.dispose()
    files = {f.name: f.stat().st_size for f in (demo_dir.path / "artifacts").glob("*/*/*")}
    assert files == {row[0]: row[1] for row in rows}
    assert (demo_dir.summary.stored, demo_dir.summary.stored_bytes) == (
        len(rows),
        sum(files.values()),
    )
    misses = {
        (run.session_id, result.hash, result.at_ms)
        for run in demo_dir.runs
        for result in run.tasks
        if result.outcome == "miss"
    }
    assert {
        (session, artifact_hash, created_ms) for _, _, artifact_hash, session, created_ms, _ in rows
    } <= misses
    assert all(created_ms <= used_ms <= ms(NOW) for *_, created_ms, used_ms in rows)
    assert any(created_ms < used_ms for *_, created_ms, used_ms in rows)


def test_names_identify_simulated_data(demo_dir: DemoDir) -> None:
    accounts = demo_dir.accounts()
    [team] = accounts.teams.all()
    assert team.name == NAME == "Demo (simulated data)"
    tokens = accounts.tokens.all()
    assert {token.label.split()[0] for token in tokens} == {"demo"}
    assert len(tokens) == 7
    assert all(token.created_at_ms <= (token.used_at_ms or 0) <= ms(NOW) for token in tokens)
    users = accounts.users.all()
    assert {user.email for user in users} == {f"dev{n}@demo.invalid" for n in range(1, 6)}
    assert all("simulated" in user.name and not user.has_password for user in users)
    assert {entry.actor_name for entry in accounts.audit.all(None)} == {"hitrate demo"}


def test_no_temporary_files_remain(demo_dir: DemoDir) -> None:
    assert {path.name for path in demo_dir.path.iterdir()} <= {
        "artifacts",
        "events.duckdb",
        "hitrate.lock",
        "hitrate.sqlite",
        "hitrate.sqlite-shm",
        "hitrate.sqlite-wal",
    }
