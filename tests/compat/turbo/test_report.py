"""`hitrate report`, as the build step after turbo, reports the run of turbo."""

from __future__ import annotations

import json
import re

from click.testing import CliRunner

from hitrate.cli.main import cli
from hitrate.units import format_compact_duration
from tests.support.monorepo import all_tasks
from tests.support.turbo_harness import TurboHarness

COUNT = len(all_tasks())


def report(harness: TurboHarness, *options: str) -> str:
    """Run `hitrate report` for the last run."""
    env = {
        "TURBO_API": harness.server.url,
        "TURBO_TOKEN": harness.token,
        "TURBO_TEAM": harness.server.team,
    }
    # In this process, because starting Python takes longer than the command.
    result = CliRunner().invoke(cli, ["report", "--last", *options], env=env)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def test_report_covers_each_build_as_soon_as_turbo_exits(harness: TurboHarness) -> None:
    cold = harness.build()
    assert report(harness) == f"this run: 0 of {COUNT} tasks from cache, 0s saved\n"
    page = report(harness, "--format", "markdown")
    slowest = max(cold.uploaded_durations().items(), key=lambda one: one[1])
    assert f"| `{slowest[0]}` | {format_compact_duration(slowest[1])} |" in page
    assert len(re.findall(r"\| `\w{16}` \|", page)) == min(COUNT, 10)

    repeated = harness.build()
    saved = format_compact_duration(sum(repeated.durations("LOCAL").values()))
    assert report(harness) == f"this run: {COUNT} of {COUNT} tasks from cache, {saved} saved\n"

    harness.repo.delete_builds()
    remote = harness.build()
    run = json.loads(report(harness, "--format", "json"))["run"]
    assert (run["remoteHits"], run["hitRate"]) == (COUNT, 1.0)
    assert run["timeSavedMs"] == {"local": 0, "remote": sum(remote.durations("REMOTE").values())}
