"""`hitrate demo`: existing teams, a running server, and the printed commands."""

import json
import re
from pathlib import Path

import pytest

from hitrate.clock import ManualClock
from hitrate.config import Settings
from hitrate.datadir import DataDir
from hitrate.demo.create import DEMO_ACTOR, INCOMPLETE_NAME, NAME, create_demo
from hitrate.teams.models import OPERATOR
from tests.support.demo_data import NOW, DemoDir, ms
from tests.support.offline_cli import OfflineCli
from tests.support.server import Server, run_hitrate, try_hitrate

_RUNS = "SELECT * FROM runs ORDER BY id"


def test_an_existing_demo_team_is_not_changed(demo_dir: DemoDir) -> None:
    before = demo_dir.query(_RUNS)
    result = OfflineCli(demo_dir.path).run("demo", "--seed", "9")
    assert result.exit_code == 0
    assert "no runs were added" in result.stderr
    assert demo_dir.query(_RUNS) == before
    assert len(demo_dir.accounts().teams.all()) == 1


def test_a_renamed_demo_team_is_recognized(demo_dir: DemoDir) -> None:
    accounts = demo_dir.accounts()
    [team] = accounts.teams.all()
    accounts.teams.rename(team, "Acme", OPERATOR)
    try:
        assert "no runs were added" in OfflineCli(demo_dir.path).run("demo").stderr
    finally:
        accounts.teams.rename(team, NAME, OPERATOR)


def test_a_team_that_is_not_a_demo_team_is_rejected(offline_cli: OfflineCli) -> None:
    offline_cli.run_ok("team", "create", "web", "--name", NAME)
    assert "The team web exists and is not a demo team" in offline_cli.run_error(
        "demo", "--team", "web"
    )
    assert offline_cli.accounts().users.all() == []
    assert not (DataDir(offline_cli.data_dir).event_store).exists()


def test_an_incomplete_demo_team_is_rejected(offline_cli: OfflineCli) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hitrate.demo.loader.EventWriter._lines_by_day", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            create_demo(
                Settings(data_dir=offline_cli.data_dir),
                offline_cli.accounts(),
                "demo",
                1,
                1,
                ManualClock(ms(NOW)),
            )
    [team] = offline_cli.accounts().teams.all()
    assert team.name == INCOMPLETE_NAME
    assert "is incomplete" in offline_cli.run_error("demo")


def test_an_incomplete_demo_team_with_the_former_name_is_rejected(offline_cli: OfflineCli) -> None:
    accounts = offline_cli.accounts()
    accounts.teams.create("demo", "Demo (made-up data, unfinished)", DEMO_ACTOR)
    assert "is incomplete" in offline_cli.run_error("demo")


def test_a_full_disk_is_detected_before_anything_is_created(offline_cli: OfflineCli) -> None:
    settings = Settings(data_dir=offline_cli.data_dir, min_free_bytes=10**18)
    with pytest.raises(Exception, match="disk is full"):
        create_demo(settings, offline_cli.accounts(), "demo", 1, 1, ManualClock(ms(NOW)))
    assert offline_cli.accounts().teams.all() == []


def test_a_running_server_is_reported_with_the_commands_to_use_instead(server: Server) -> None:
    result = try_hitrate("demo", "--data-dir", str(server.data_dir))
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert server.url in result.stderr
    assert "`hitrate demo --data-dir demo-data`" in result.stderr
    assert "`hitrate serve --data-dir demo-data`" in result.stderr
    assert [team["slug"] for team in json.loads(server.command("team", "list", "--json"))] == [
        "default"
    ]


def test_a_server_on_the_data_directory_reports_the_same_totals(
    tmp_path: Path,
) -> None:
    path = tmp_path / "demo-data"
    summary = json.loads(run_hitrate("demo", "--months", "1", "--json", "--data-dir", str(path)))
    server = Server(path)
    server.token = run_hitrate("token", "create", "--team", "demo", "--data-dir", str(path)).strip()
    server.start()
    try:
        response = server.request("GET", "/v1/analytics/summary?since=31d&fresh=true").json()
    finally:
        server.kill()
    for name in ("runs", "tasks", "localHits", "remoteHits"):
        assert response[name] == summary[name]
    assert sum(response["timeSavedMs"].values()) == summary["timeSavedMs"]
    assert response["artifacts"]["stored"] == summary["stored"]
    assert response["artifacts"]["storedBytes"] == summary["storedBytes"]
    assert response["artifacts"]["downloads"] == response["remoteHits"]
    assert response["anomalies"] == 1


@pytest.mark.usefixtures("quick_passwords")
def test_the_printed_commands_succeed(demo_dir: DemoDir) -> None:
    cli = OfflineCli(demo_dir.path)
    output = cli.run_ok("demo")
    commands = re.findall(r"^hitrate (.+) --data-dir (\S+)$", output, flags=re.MULTILINE)
    assert [(line.split()[0], data_dir) for line, data_dir in commands] == [
        (name, str(demo_dir.path)) for name in ("user", "serve", "token")
    ]
    for line, _ in commands:
        if line != "serve":
            assert cli.run_ok(*line.split()).strip()
    assert "sign in at http://127.0.0.1:3000/login" in output
