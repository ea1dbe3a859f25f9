"""`hitrate export`: the API's files, whole or not at all."""

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tests.support.remote_cli import COLD, Fake, Workshop, set_only, told
from tests.support.server import Server, eventually

FORMATS = ["ndjson", "csv", "parquet"]
UNTIL = ["--until", "2099-01-01"]


@pytest.fixture(scope="module")
def workshop(shared_server: Server) -> Workshop:
    """Two runs and an artifact."""
    workshop = Workshop(shared_server)
    workshop.store("slow", 90_000)
    workshop.record("cold", *({**one, "hash": "slow"} for one in COLD))
    workshop.record(
        "warm", {"hash": "slow", "source": "REMOTE", "duration": 9}, artifact_client_ci="GITLAB"
    )
    return workshop


def exported(workshop: Workshop, what: str, **query: str) -> bytes:
    """What the API gives."""
    answer = workshop.server.request(
        "GET",
        f"/v1/export/{what}",
        params={"slug": workshop.slug, "until": "2099-01-01", **query},
        token=workshop.token,
    )
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("what", ["events", "runs", "artifacts"])
def test_a_file_is_the_apis_own(workshop: Workshop, tmp_path: Path, what: str, form: str) -> None:
    file = tmp_path / "file"
    done = workshop.run("export", what, "--format", form, "-o", str(file), *UNTIL)
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert str(file) in done.stderr
    if form != "parquet":
        assert file.read_bytes() == exported(workshop, what, format=form)
    rows = {"ndjson": "read_json", "csv": "read_csv", "parquet": "read_parquet"}[form]
    [(count,)] = duckdb.execute(f"SELECT count(*) FROM {rows}(?)", [str(file)]).fetchall()
    assert count == {"events": 3, "runs": 2, "artifacts": 1}[what]
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("form", FORMATS)
def test_the_format_is_that_of_the_files_ending(
    workshop: Workshop, tmp_path: Path, form: str
) -> None:
    file = tmp_path / f"runs.{form.upper()}"
    workshop.ok("export", "runs", "-o", str(file), *UNTIL)
    begins = {"ndjson": b"{", "csv": b"sessionId,", "parquet": b"PAR1"}[form]
    assert file.read_bytes().startswith(begins)


def test_without_a_file_it_goes_to_standard_output(workshop: Workshop) -> None:
    wanted = exported(workshop, "events")
    assert workshop.process("export", "events", *UNTIL).stdout.encode() == wanted
    assert workshop.process("export", "events", "-o", "-", *UNTIL).stdout.encode() == wanted


def test_filters_and_the_period_are_the_apis(workshop: Workshop) -> None:
    shown = workshop.ok("export", "runs", "--ci", "GITLAB", *UNTIL)
    assert shown.encode() == exported(workshop, "runs", ci="GITLAB")
    assert '"warm"' in shown
    assert '"cold"' not in shown
    assert workshop.ok("export", "runs", "--since", "2001-01-01", "--until", "2002-01-01") == ""


def test_artifacts_are_of_all_runs(workshop: Workshop) -> None:
    said = workshop.refused("export", "artifacts", "--ci", "GITLAB", code=2)
    assert "leave out --ci" in said


def test_parquet_is_for_a_file_or_a_pipe_and_not_for_a_terminal(
    workshop: Workshop, tmp_path: Path
) -> None:
    arguments = ["export", "runs", "--format", "parquet"]
    for where in ([], ["-o", "-"], ["-o", "/dev/stdout"]):
        shown = workshop.in_terminal(*arguments, *where)
        assert "Parquet is not for a terminal: name a file with -o." in shown
        assert "PAR1" not in shown
    piped = subprocess.run(
        [sys.executable, "-m", "hitrate", *arguments],
        capture_output=True,
        env={**set_only(workshop.env), "PATH": ""},
        timeout=60,
        check=True,
    )
    assert piped.stdout.startswith(b"PAR1")
    assert piped.stdout.endswith(b"PAR1")
    assert "sessionId" in workshop.in_terminal("export", "runs")
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_with_a_name_is_written_as_it_is(workshop: Workshop, tmp_path: Path) -> None:
    workshop.ok("export", "runs", "--format", "parquet", "-o", "/dev/null")
    assert Path("/dev/null").is_char_device()
    reads = subprocess.Popen(
        ["sh", "-c", f"mkfifo {tmp_path}/pipe && cat {tmp_path}/pipe"], stdout=subprocess.PIPE
    )
    eventually((tmp_path / "pipe").exists)
    workshop.ok("export", "events", "-o", str(tmp_path / "pipe"), *UNTIL)
    assert reads.communicate(timeout=30)[0] == exported(workshop, "events")
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("form", FORMATS)
def test_a_download_that_breaks_off_leaves_the_old_file(
    workshop: Workshop, fake: Fake, tmp_path: Path, form: str
) -> None:
    fake.content_type, fake.body, fake.announced_bytes = f"text/{form}", b"half of it", 1000
    file = tmp_path / f"runs.{form}"
    arguments = ["export", "runs", "-o", str(file)]
    assert "No answer" in workshop.refused(*arguments, env={"TURBO_API": fake.url})
    assert list(tmp_path.iterdir()) == []
    file.write_text("old")
    workshop.refused(*arguments, env={"TURBO_API": fake.url})
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_text() == "old"


def test_a_pipe_learns_from_the_exit_code_that_it_got_half(workshop: Workshop, fake: Fake) -> None:
    fake.content_type, fake.body, fake.announced_bytes = "text/csv", b"a" * 600_000, 10**6
    done = workshop.run("export", "runs", "--format", "csv", env={"TURBO_API": fake.url})
    assert done.exit_code == 1
    assert 0 < len(done.stdout) < 10**6
    assert "No answer" in told(done)


def test_a_reader_that_has_seen_enough_is_no_failure(workshop: Workshop) -> None:
    command = f"{sys.executable} -m hitrate export events | head -n 1"
    done = subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        text=True,
        env={**set_only(workshop.env), "PATH": "/usr/bin:/bin"},
        timeout=60,
        check=True,
    )
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["none/runs.csv", "folder", "file/runs.csv"])
def test_a_file_that_cannot_be_written_is_one_clear_line(
    workshop: Workshop, tmp_path: Path, name: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    done = workshop.run("export", "runs", "-o", str(tmp_path / name))
    assert done.exit_code in (1, 2)
    assert name in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_is_of_both_ways_the_same(workshop: Workshop) -> None:
    arguments = ["export", "events", "--team", workshop.slug, *UNTIL]
    assert workshop.operator(*arguments).stdout == workshop.ok(*arguments)
