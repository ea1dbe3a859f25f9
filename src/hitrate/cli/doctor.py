"""`hitrate doctor`: check a configuration, its data directory and its server."""

import sys
from collections.abc import Iterator
from typing import Literal

import click
import msgspec
from sqlalchemy import text

from hitrate import __version__
from hitrate.app.health import OperatorStatus, disk_problems
from hitrate.cli.operator import operator_client
from hitrate.cli.options import json_option
from hitrate.cli.output import print_json
from hitrate.cli.server_options import settings_options
from hitrate.clock import Clock
from hitrate.config import Settings
from hitrate.datadir import (
    DataDir,
    DataDirLock,
    ServerInfo,
    check_port_free,
    ensure_private_dir,
    free_bytes,
    read_server_info,
)
from hitrate.db.engine import open_database
from hitrate.errors import HitrateError
from hitrate.events.quarantine import Quarantine, QuarantinedBatch
from hitrate.events.spool import Spool
from hitrate.events.store import create_event_store
from hitrate.units import format_count, format_size

_MAX_LOAD_LAG_S = 60.0
_LABELS = {"ok": "ok  ", "warning": "warn", "failed": "FAIL"}


class Finding(msgspec.Struct):
    """Result of one check; `fix` says how to repair a problem."""

    level: Literal["ok", "warning", "failed"]
    message: str
    fix: str = ""


@click.command()
@json_option
@settings_options()
def doctor(settings: Settings, json_output: bool) -> None:
    """Check a configuration, its data directory and its server, and suggest fixes.

    Exits with 1 if a check fails.
    """
    findings = list(_check(settings))
    if json_output:
        print_json(findings)
    else:
        for finding in findings:
            click.echo(f"{_LABELS[finding.level]}  {finding.message}")
            if finding.fix:
                click.echo(f"      {finding.fix}")
    if any(finding.level == "failed" for finding in findings):
        sys.exit(1)


def _check(settings: Settings) -> Iterator[Finding]:
    try:
        settings.check_oidc()
        if not settings.data_dir.exists():
            yield Finding(
                "ok",
                f"data directory {settings.data_dir} does not exist; the first start creates it",
            )
            yield from _check_listener(settings)
            return
        ensure_private_dir(settings.data_dir)
        yield Finding("ok", f"data directory {settings.data_dir} is writable")
        yield from _check_database(settings)
        running = read_server_info(settings.data_dir)
        if running is not None:
            yield from _check_server(settings, running)
        else:
            yield from _check_stopped(settings)
    except HitrateError as error:
        yield Finding("failed", str(error))


def _check_database(settings: Settings) -> Iterator[Finding]:
    engine = open_database(settings.data_dir)
    try:
        with engine.connect() as connection:
            result = connection.execute(text("PRAGMA quick_check(1)")).scalar()
    finally:
        engine.dispose()
    if result == "ok":
        yield Finding("ok", "database is intact")
    else:
        yield Finding(
            "failed", f"database is damaged: {result}", "Stop the server and restore a backup."
        )


def _check_server(settings: Settings, running: ServerInfo) -> Iterator[Finding]:
    try:
        with operator_client(settings, running) as server:
            body = server.request("GET", "/v1/operator/status")
    except HitrateError as error:
        yield Finding("failed", f"the server at {running.url} cannot be queried: {error}")
        yield from _check_disk(settings)
        return
    status = msgspec.json.decode(body, type=OperatorStatus)
    yield Finding("ok", f"server responds at {running.url} (process {running.pid})")
    if status.version != __version__:
        yield Finding(
            "warning",
            f"server is hitrate {status.version}, this command is {__version__}",
            "Restart the server.",
        )
    yield from (Finding("failed", problem) for problem in status.problems)
    yield _loading_finding(status)
    yield from _quarantine_findings(status.quarantined, status.quarantined_batches)
    yield Finding(
        "ok",
        f"{format_count(status.artifacts, 'artifact')} ({format_size(status.artifact_bytes)}); "
        f"{format_size(status.free_bytes)} free on disk",
    )


def _loading_finding(status: OperatorStatus) -> Finding:
    waiting = f"{_segments_text(status.spool_segments, status.spool_bytes)} waiting"
    if status.load_error is not None:
        return Finding(
            "failed",
            f"event store cannot be used: {status.load_error}; {waiting}, no event is lost",
            "Stop the process that locks it, free disk space, or move a damaged file away; "
            "loading then resumes automatically.",
        )
    if status.spool_oldest_s > _MAX_LOAD_LAG_S:
        return Finding("warning", f"loading is behind by {status.spool_oldest_s:.0f} s: {waiting}")
    return Finding("ok", "events are loaded as they arrive")


def _check_stopped(settings: Settings) -> Iterator[Finding]:
    yield Finding("ok", "no server runs on this data directory")
    yield from _check_listener(settings)
    yield from _check_disk(settings)
    yield from _check_event_store(settings)


def _check_listener(settings: Settings) -> Iterator[Finding]:
    """Check that a server could listen on its address, with its certificate."""
    check_port_free(settings)
    yield Finding("ok", f"{settings.host}:{settings.port} is free to listen on")
    for option, path in (("--tls-cert", settings.tls_cert), ("--tls-key", settings.tls_key)):
        if path is not None and not path.is_file():
            yield Finding(
                "failed", f"{option} {path} is not a file", "Pass the path of a PEM file."
            )


def _check_disk(settings: Settings) -> Iterator[Finding]:
    problems = disk_problems(settings, free_bytes(settings.data_dir))
    yield from (Finding("failed", problem) for problem in problems)


def _check_event_store(settings: Settings) -> Iterator[Finding]:
    data_dir, store = DataDir(settings.data_dir), create_event_store(settings)
    try:
        with DataDirLock(settings):
            store.open()
            store.close()
        yield Finding("ok", "event store opens")
    except HitrateError as error:
        yield Finding(
            "failed",
            f"event store cannot be opened: {error}",
            "Stop the process that locks it, or move a damaged file away and start the server, "
            "which creates a new one.",
        )
    spool = Spool(data_dir.spool, Clock()).stats()
    if spool.segments:
        yield Finding(
            "ok",
            f"{_segments_text(spool.segments, spool.size_bytes)} waiting to be loaded",
        )
    quarantined = Quarantine(data_dir.quarantine).batches()
    yield from _quarantine_findings(quarantined, len(quarantined))


def _segments_text(count: int, size_bytes: int) -> str:
    """Return `1 segment (1.5 kB) is` or `2 segments (3.0 kB) are`."""
    verb = "is" if count == 1 else "are"
    return f"{format_count(count, 'segment')} ({format_size(size_bytes)}) {verb}"


def _quarantine_findings(batches: list[QuarantinedBatch], count: int) -> Iterator[Finding]:
    for batch in batches:
        yield Finding("warning", f"quarantined batch: {batch.file}: {batch.reason}")
    if count:
        yield Finding(
            "warning",
            f"{format_count(count, 'batch')} could not be loaded and "
            f"{'is' if count == 1 else 'are'} in the directory `spool/quarantine`",
            "Repair the .ndjson file and move it one directory up to load it, or delete it "
            "together with its .reason.txt.",
        )
