"""`hitrate demo`: made-up runs that are plausible, labelled, the same for a seed, and in nobody's
way."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from hitrate.auth.accounts import AccountStore
from hitrate.cli.demo import INCOMPLETE_NAME, NAME, Made, create_demo
from hitrate.clock import Clock, ManualClock
from hitrate.config import Settings
from hitrate.datadir import DataDir
from hitrate.db.engine import open_database
from hitrate.demo.shared_cache import CACHE_BYTES, CachedArtifact, Run
from hitrate.demo.simulator import DAY_MS, GITHUB, GITLAB, WorkloadSimulator
from hitrate.teams.models import OPERATOR
from tests.support.database import put_empty_database
from tests.support.offline_cli import Desk
from tests.support.server import Server, run_hitrate, try_hitrate

# A Wednesday, in the afternoon.
NOW = datetime(2026, 11, 18, 15, 30, tzinfo=UTC)
DAYS = 7


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def runs_of(history: WorkloadSimulator) -> list[Run]:
    return [run for day in history.days() for run in day]


def hit_rate(runs: list[Run]) -> float:
    outcomes = Counter(done.outcome for run in runs for done in run.tasks)
    return 1 - outcomes["miss"] / outcomes.total()


@dataclass(frozen=True)
class Told:
    """A whole history, as the command tells it."""

    history: WorkloadSimulator
    runs: list[Run]
    kept: list[CachedArtifact]


@pytest.fixture(scope="module")
def three_months() -> Told:
    history = WorkloadSimulator(1, 90, ms(NOW))
    return Told(history, runs_of(history), list(history.kept()))


def test_the_same_seed_tells_the_same_runs_and_another_seed_tells_others() -> None:
    first, again, other = (WorkloadSimulator(seed, DAYS, ms(NOW)) for seed in (7, 7, 8))
    runs = runs_of(first)
    assert runs == runs_of(again)
    assert list(first.kept()) == list(again.kept())
    assert runs != runs_of(other)


def test_later_on_the_same_day_there_is_more_of_it_and_the_rest_is_as_it_was() -> None:
    noon, evening = (NOW.replace(hour=hour) for hour in (12, 20))
    before, after = (runs_of(WorkloadSimulator(7, DAYS, ms(moment))) for moment in (noon, evening))
    assert before == [run for run in after if run.ended_ms <= ms(noon)]
    assert len(before) < len(after)


@pytest.mark.parametrize("days_on", range(7))
def test_the_last_run_was_in_the_last_hours_and_none_is_still_to_come(days_on: int) -> None:
    now_ms = ms(NOW + timedelta(days=days_on, hours=3 * days_on))
    last_ms = max(run.ended_ms for run in runs_of(WorkloadSimulator(1, 3, now_ms)))
    assert now_ms - 4 * 3_600_000 < last_ms <= now_ms


def test_the_runs_fill_the_days_that_were_asked_for(three_months: Told) -> None:
    runs, start_ms = three_months.runs, three_months.history.start_ms
    assert 3000 <= len(runs) <= 6000
    assert {(run.started_ms - start_ms) // DAY_MS for run in runs} == set(range(90))


def test_people_work_on_working_days_and_ci_always(three_months: Told) -> None:
    a_day: Counter[str] = Counter()
    for run in three_months.runs:
        weekend = datetime.fromtimestamp(run.started_ms / 1000, UTC).weekday() >= 5
        a_day["weekend" if weekend else "working day"] += run.sender is not GITLAB
    assert 0 < a_day["weekend"] / 26 < 0.2 * a_day["working day"] / 64


def test_a_hit_has_a_run_that_made_its_artifact_before(three_months: Told) -> None:
    made: set[tuple[str, int, int]] = set()
    known: set[tuple[str, str]] = set()
    tasks = ((done, run) for run in three_months.runs for done in run.tasks)
    for done, run in sorted(tasks, key=lambda one: one[0].at_ms):
        if done.outcome == "remote_hit":
            assert (done.hash, done.duration_ms, done.size_bytes) in made
        elif done.outcome == "local_hit":
            assert (run.sender.token, done.hash) in known
        else:
            made.add((done.hash, done.duration_ms, done.size_bytes))
        known.add((run.sender.token, done.hash))


def test_there_is_some_of_everything(three_months: Told) -> None:
    runs = three_months.runs
    assert {done.outcome for run in runs for done in run.tasks} == {
        "local_hit",
        "remote_hit",
        "miss",
    }
    assert {run.sender.ci for run in runs} == {"GITHUB_ACTIONS", "GITLAB", None}
    agents = {run.sender.agent for run in runs}
    assert len(agents) == 4
    assert {(run.sender.ci is None, run.sender.interactive) for run in runs} == {
        (False, False),
        (True, True),
        (True, False),
    }
    odd = [run for run in runs if any(done.duration_ms < 0 for done in run.tasks)]
    assert len(odd) == 1
    assert all((run.dirty_hash is None) == (run.sender.ci is not None) for run in runs)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_hit_rate_rises_but_for_one_bad_week(seed: int) -> None:
    # Ends on a Sunday, so that each week is one of the calendar.
    history = WorkloadSimulator(seed, 91, ms(NOW + timedelta(days=4)))
    weeks: list[list[Run]] = [[] for _ in range(13)]
    for run in runs_of(history):
        weeks[(run.started_ms - history.start_ms) // DAY_MS // 7].append(run)
    rates = [hit_rate(week) for week in weeks]
    assert 0.6 < hit_rate([run for week in weeks for run in week]) < 0.95
    [bad] = [number for number in range(6, 13) if rates[number] < min(rates[:6])]
    sound = [rate for number, rate in enumerate(rates) if number != bad]
    assert sum(sound[-4:]) / 4 > sum(sound[:4]) / 4 + 0.1
    ci = hit_rate([run for run in weeks[bad] if run.sender is GITHUB])
    assert ci < 0.5 < hit_rate([run for run in weeks[bad] if run.sender.interactive])


def test_the_cache_keeps_what_was_used_last_and_is_small(three_months: Told) -> None:
    sizes = [one.task.size_bytes for one in three_months.kept]
    assert len(sizes) > 500
    assert 0.9 * CACHE_BYTES < sum(sizes) <= CACHE_BYTES < 50_000_000
    assert min(sizes) < 3_000
    assert max(sizes) > 100_000
    assert all(one.task.at_ms <= one.used_ms <= ms(NOW) for one in three_months.kept)
    assert any(one.used_ms > one.task.at_ms + DAY_MS for one in three_months.kept)


@dataclass(frozen=True)
class Folder:
    """A data folder with a demo."""

    path: Path
    made: Made
    runs: list[Run]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(DataDir(self.path).event_store), read_only=True) as connection:
            return connection.execute(query).fetchall()

    def accounts(self) -> AccountStore:
        engine = open_database(self.path)
        engine.dispose()
        return AccountStore(engine, Clock())


def make(path: Path, seed: int = 1) -> Folder:
    path.mkdir(mode=0o700)
    put_empty_database(path)
    engine = open_database(path)
    accounts = AccountStore(engine, Clock())
    made = create_demo(Settings(data_dir=path), accounts, "demo", DAYS, seed, ManualClock(ms(NOW)))
    engine.dispose()
    return Folder(path, made, runs_of(WorkloadSimulator(seed, DAYS, ms(NOW))))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return make(tmp_path_factory.mktemp("demo") / "data")


_RUNS = """
SELECT session_id, started_at, ended_at, tasks, local_hits, remote_hits, local_ms, remote_ms,
       events, repeats, resent, anomalies, ci, interactive, agent
FROM runs r JOIN senders s ON s.id = r.sender ORDER BY r.id
"""
_MOVED = """
SELECT moved_at, ci, interactive, agent, uploads, uploaded_bytes, downloads, downloaded_bytes
FROM transfers t JOIN senders s ON s.id = t.sender ORDER BY ALL
"""


def test_the_same_seed_makes_the_same_rows(folder: Folder, tmp_path: Path) -> None:
    again = make(tmp_path / "again")
    for query in (_RUNS, _MOVED, "SELECT id, received_at, run, kind, hash, duration FROM events"):
        assert again.rows(query) == folder.rows(query)


def test_the_event_store_has_of_each_run_what_its_history_tells(folder: Folder) -> None:
    stored = {row[0]: row for row in folder.rows(_RUNS)}
    assert stored.keys() == {run.session_id for run in folder.runs}
    for run in folder.runs:
        outcomes = Counter(done.outcome for done in run.tasks)
        _, _, ended_ms, *counts, resent, _, ci, interactive, agent = stored[run.session_id]
        assert counts[:3] == [len(run.tasks), outcomes["local_hit"], outcomes["remote_hit"]]
        again_ms = 2000 if resent else 0
        assert run.tasks[-1].at_ms <= ended_ms <= min(run.ended_ms + again_ms, ms(NOW))
        assert (ci, interactive, agent) == run.sender[1:]


def test_runs_are_listed_in_the_order_of_time(folder: Folder) -> None:
    started = [row[1] for row in folder.rows(_RUNS)]
    assert started == sorted(started)


def test_what_it_says_it_made_is_there(folder: Folder) -> None:
    made = folder.made
    counted = "count(*), sum(tasks), sum(local_hits), sum(remote_hits), sum(local_ms + remote_ms)"
    [row] = folder.rows(f"SELECT {counted} FROM runs")
    assert row == (
        made.runs,
        made.tasks,
        made.local_hits,
        made.remote_hits,
        made.time_saved_ms,
    )
    assert 0.4 < (made.local_hits + made.remote_hits) / made.tasks < 0.95


def test_some_batches_came_again_and_one_task_told_nonsense(folder: Folder) -> None:
    [(resent, anomalies)] = folder.rows("SELECT sum(resent), sum(anomalies) FROM runs")
    assert resent > 0
    assert anomalies == 1


def test_long_runs_send_batches_of_a_hundred_with_time_between(folder: Folder) -> None:
    batches = folder.rows(
        "SELECT run, received_at, count(*) FROM events GROUP BY ALL ORDER BY run, received_at"
    )
    assert max(count for _, _, count in batches) == 100
    several = Counter(run for run, _, _ in batches)
    assert max(several.values()) >= 2


def test_each_miss_was_uploaded_and_each_remote_hit_downloaded(folder: Folder) -> None:
    [moved] = folder.rows("SELECT sum(uploads), sum(downloads) FROM transfers")
    made = folder.made
    assert moved == (made.tasks - made.local_hits - made.remote_hits, made.remote_hits)


def test_stored_artifacts_have_bodies_and_the_runs_that_made_them(folder: Folder) -> None:
    engine = open_database(folder.path)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT blob, size_bytes, hash, made_by, created_at, used_at FROM artifacts"
        ).all()
    engine.dispose()
    files = {f.name: f.stat().st_size for f in (folder.path / "artifacts").glob("*/*/*")}
    assert files == {row[0]: row[1] for row in rows}
    assert (folder.made.stored, folder.made.stored_bytes) == (len(rows), sum(files.values()))
    missed = {
        (run.session_id, done.hash, done.at_ms)
        for run in folder.runs
        for done in run.tasks
        if done.outcome == "miss"
    }
    assert {(made_by, name, made_ms) for _, _, name, made_by, made_ms, _ in rows} <= missed
    assert all(made_ms <= used_ms <= ms(NOW) for *_, made_ms, used_ms in rows)
    assert any(made_ms < used_ms for *_, made_ms, used_ms in rows)


def test_everything_about_it_says_that_it_is_made_up(folder: Folder) -> None:
    accounts = folder.accounts()
    [team] = accounts.teams.all()
    assert team.name == NAME == "Demo (made-up data)"
    tokens = accounts.tokens.all()
    assert {token.label.split()[0] for token in tokens} == {"demo"}
    assert len(tokens) == 7
    assert all(token.created_at_ms <= (token.used_at_ms or 0) <= ms(NOW) for token in tokens)
    people = accounts.users.all()
    assert {user.email for user in people} == {f"dev{n}@demo.invalid" for n in range(1, 6)}
    assert all("made up" in user.name and not user.has_password for user in people)
    assert {entry.actor_name for entry in accounts.audit.all(None)} == {"hitrate demo"}


def test_nothing_is_left_beside_what_a_server_keeps(folder: Folder) -> None:
    assert {path.name for path in folder.path.iterdir()} <= {
        "artifacts",
        "events.duckdb",
        "hitrate.lock",
        "hitrate.sqlite",
        "hitrate.sqlite-shm",
        "hitrate.sqlite-wal",
    }


def test_a_second_time_adds_nothing(folder: Folder, desk: Desk) -> None:
    before = folder.rows(_RUNS)
    done = desk.at(folder.path).run("demo", "--seed", "9")
    assert done.code == 0
    assert "none were added" in done.err
    assert folder.rows(_RUNS) == before
    assert len(folder.accounts().teams.all()) == 1


def test_a_demo_that_was_renamed_is_known_as_one(folder: Folder, desk: Desk) -> None:
    accounts = folder.accounts()
    [team] = accounts.teams.all()
    accounts.teams.rename(team, "Acme", OPERATOR)
    try:
        assert "none were added" in desk.at(folder.path).run("demo").err
    finally:
        accounts.teams.rename(team, NAME, OPERATOR)


def test_a_team_that_is_no_demo_is_left_alone(desk: Desk) -> None:
    desk.ok("team", "create", "web", "--name", NAME)
    assert "The team web is no demo" in desk.refused("demo", "--team", "web")
    assert desk.accounts().users.all() == []
    assert not (DataDir(desk.folder).event_store).exists()


def test_a_demo_that_was_interrupted_is_not_taken_for_a_whole_one(desk: Desk) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hitrate.demo.loader.EventWriter._by_day", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            create_demo(
                Settings(data_dir=desk.folder), desk.accounts(), "demo", 1, 1, ManualClock(ms(NOW))
            )
    [team] = desk.accounts().teams.all()
    assert team.name == INCOMPLETE_NAME
    assert "was interrupted" in desk.refused("demo")


def test_a_full_disk_is_found_before_anything_is_made(desk: Desk) -> None:
    settings = Settings(data_dir=desk.folder, min_free_bytes=10**18)
    with pytest.raises(Exception, match="disk is full"):
        create_demo(settings, desk.accounts(), "demo", 1, 1, ManualClock(ms(NOW)))
    assert desk.accounts().teams.all() == []


def test_beside_a_running_server_it_says_how_else(server: Server) -> None:
    done = try_hitrate("demo", "--data-dir", str(server.data_dir))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert server.url in done.stderr
    assert "`hitrate demo --data-dir demo-data`" in done.stderr
    assert "`hitrate serve --data-dir demo-data`" in done.stderr
    assert [team["slug"] for team in json.loads(server.command("team", "list", "--json"))] == [
        "default"
    ]


def test_a_server_started_on_it_shows_the_same_totals(
    tmp_path: Path,
) -> None:
    path = tmp_path / "demo-data"
    made = json.loads(run_hitrate("demo", "--months", "1", "--json", "--data-dir", str(path)))
    server = Server(path)
    server.token = run_hitrate("token", "create", "--team", "demo", "--data-dir", str(path)).strip()
    server.start()
    try:
        answer = server.request("GET", "/v1/analytics/summary?since=31d&fresh=true").json()
    finally:
        server.kill()
    for name in ("runs", "tasks", "localHits", "remoteHits"):
        assert answer[name] == made[name]
    assert sum(answer["timeSavedMs"].values()) == made["timeSavedMs"]
    assert answer["artifacts"]["stored"] == made["stored"]
    assert answer["artifacts"]["storedBytes"] == made["storedBytes"]
    assert answer["artifacts"]["downloads"] == answer["remoteHits"]
    assert answer["anomalies"] == 1


def test_the_lines_that_it_prints_work(folder: Folder, desk: Desk) -> None:
    here = desk.at(folder.path)
    printed = here.ok("demo")
    commands = re.findall(r"^hitrate (.+) --data-dir (\S+)$", printed, flags=re.MULTILINE)
    assert [(line.split()[0], data_dir) for line, data_dir in commands] == [
        (name, str(folder.path)) for name in ("user", "serve", "token")
    ]
    for line, _ in commands:
        if line != "serve":
            assert here.ok(*line.split()).strip()
    assert "sign in at http://127.0.0.1:3000/login" in printed
