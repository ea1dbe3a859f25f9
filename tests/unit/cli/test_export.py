"""`hitrate export`: complete files, formats, pipes and interrupted downloads."""

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tests.support.cli import error_line
from tests.support.remote_cli import MISS_EVENTS, FakeServer, RemoteCli, process_env
from tests.support.server import Server, eventually

FORMATS = ["ndjson", "csv", "parquet"]
UNTIL = ["--until", "2099-01-01"]


@pytest.fixture(scope="module")
def remote_cli(shared_server: Server) -> RemoteCli:
    """The command line for a team with two runs and one artifact."""
    remote_cli = RemoteCli(shared_server)
    remote_cli.upload("slow", 90_000)
    remote_cli.record("cold", *({**fields, "hash": "slow"} for fields in MISS_EVENTS))
    remote_cli.record(
        "warm", {"hash": "slow", "source": "REMOTE", "duration": 9}, artifact_client_ci="GITLAB"
    )
    return remote_cli


def api_export(remote_cli: RemoteCli, dataset: str, **query: str) -> bytes:
    """Return the response of the API."""
    response = remote_cli.server.request(
        "GET",
        f"/v1/export/{dataset}",
        params={"slug": remote_cli.slug, "until": "2099-01-01", **query},
        token=remote_cli.token,
    )
    assert response.status_code == 200, response.text
    return response.content


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("dataset", ["events", "runs", "artifacts"])
def test_the_file_is_the_response_of_the_api(
    remote_cli: RemoteCli, tmp_path: Path, dataset: str, output_format: str
) -> None:
    file = tmp_path / "file"
    result = remote_cli.run("export", dataset, "--format", output_format, "-o", str(file), *UNTIL)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert str(file) in result.stderr
    if output_format != "parquet":
        assert file.read_bytes() == api_export(remote_cli, dataset, format=output_format)
    rows = {"ndjson": "read_json", "csv": "read_csv", "parquet": "read_parquet"}[output_format]
    [(count,)] = duckdb.execute(f"SELECT count(*) FROM {rows}(?)", [str(file)]).fetchall()
    assert count == {"events": 3, "runs": 2, "artifacts": 1}[dataset]
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_format_is_chosen_by_the_file_extension(
    remote_cli: RemoteCli, tmp_path: Path, output_format: str
) -> None:
    file = tmp_path / f"runs.{output_format.upper()}"
    remote_cli.run_ok("export", "runs", "-o", str(file), *UNTIL)
    prefix = {"ndjson": b"{", "csv": b"sessionId,", "parquet": b"PAR1"}[output_format]
    assert file.read_bytes().startswith(prefix)


def test_export_without_a_file_goes_to_standard_output(remote_cli: RemoteCli) -> None:
    expected = api_export(remote_cli, "events")
    assert remote_cli.run_process("export", "events", *UNTIL).stdout.encode() == expected
    assert remote_cli.run_process("export", "events", "-o", "-", *UNTIL).stdout.encode() == expected


def test_filters_and_period_select_runs(remote_cli: RemoteCli) -> None:
    output = remote_cli.run_ok("export", "runs", "--ci", "GITLAB", *UNTIL)
    assert output.encode() == api_export(remote_cli, "runs", ci="GITLAB")
    assert '"warm"' in output
    assert '"cold"' not in output
    assert (
        remote_cli.run_ok("export", "runs", "--since", "2001-01-01", "--until", "2002-01-01") == ""
    )


def test_filters_are_rejected_for_artifacts(remote_cli: RemoteCli) -> None:
    error = remote_cli.run_error("export", "artifacts", "--ci", "GITLAB", code=2)
    assert "remove --ci" in error


def test_parquet_is_written_to_files_and_pipes_but_not_to_a_terminal(
    remote_cli: RemoteCli, tmp_path: Path
) -> None:
    arguments = ["export", "runs", "--format", "parquet"]
    for output_options in ([], ["-o", "-"], ["-o", "/dev/stdout"]):
        output = remote_cli.run_in_terminal(*arguments, *output_options)
        assert "Parquet is binary: write it to a file with -o." in output
        assert "PAR1" not in output
    piped = subprocess.run(
        [sys.executable, "-m", "hitrate", *arguments],
        capture_output=True,
        env={**process_env(remote_cli.env), "PATH": ""},
        timeout=60,
        check=True,
    )
    assert piped.stdout.startswith(b"PAR1")
    assert piped.stdout.endswith(b"PAR1")
    assert "sessionId" in remote_cli.run_in_terminal("export", "runs")
    assert list(tmp_path.iterdir()) == []


def test_a_named_pipe_or_device_is_written_in_place(remote_cli: RemoteCli, tmp_path: Path) -> None:
    remote_cli.run_ok("export", "runs", "--format", "parquet", "-o", "/dev/null")
    assert Path("/dev/null").is_char_device()
    reader = subprocess.Popen(
        ["sh", "-c", f"mkfifo {tmp_path}/pipe && cat {tmp_path}/pipe"], stdout=subprocess.PIPE
    )
    eventually((tmp_path / "pipe").exists)
    remote_cli.run_ok("export", "events", "-o", str(tmp_path / "pipe"), *UNTIL)
    assert reader.communicate(timeout=30)[0] == api_export(remote_cli, "events")
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("output_format", FORMATS)
def test_an_interrupted_download_keeps_the_previous_file(
    remote_cli: RemoteCli, fake_server: FakeServer, tmp_path: Path, output_format: str
) -> None:
    fake_server.content_type, fake_server.body, fake_server.content_length = (
        f"text/{output_format}",
        b"half of it",
        1000,
    )
    file = tmp_path / f"runs.{output_format}"
    arguments = ["export", "runs", "-o", str(file)]
    assert "No response" in remote_cli.run_error(*arguments, env={"TURBO_API": fake_server.url})
    assert list(tmp_path.iterdir()) == []
    file.write_text("old")
    remote_cli.run_error(*arguments, env={"TURBO_API": fake_server.url})
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_text() == "old"


def test_an_interrupted_download_to_a_pipe_exits_with_1(
    remote_cli: RemoteCli, fake_server: FakeServer
) -> None:
    fake_server.content_type, fake_server.body, fake_server.content_length = (
        "text/csv",
        b"a" * 600_000,
        10**6,
    )
    result = remote_cli.run("export", "runs", "--format", "csv", env={"TURBO_API": fake_server.url})
    assert result.exit_code == 1
    assert 0 < len(result.stdout) < 10**6
    assert "No response" in error_line(result)


def test_a_closed_pipe_is_not_an_error(remote_cli: RemoteCli) -> None:
    command = f"{sys.executable} -m hitrate export events | head -n 1"
    result = subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        text=True,
        env={**process_env(remote_cli.env), "PATH": "/usr/bin:/bin"},
        timeout=60,
        check=True,
    )
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == ""


@pytest.mark.parametrize("name", ["none/runs.csv", "directory", "file/runs.csv"])
def test_an_unwritable_file_is_reported_in_one_line(
    remote_cli: RemoteCli, tmp_path: Path, name: str
) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("")
    result = remote_cli.run("export", "runs", "-o", str(tmp_path / name))
    assert result.exit_code in (1, 2)
    assert name in result.stderr
    assert "Traceback" not in result.stderr


def test_operator_and_token_export_the_same(remote_cli: RemoteCli) -> None:
    arguments = ["export", "events", "--team", remote_cli.slug, *UNTIL]
    assert remote_cli.run_as_operator(*arguments).stdout == remote_cli.run_ok(*arguments)
