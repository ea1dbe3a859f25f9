"""`hitrate gc`: evict artifacts and repair the index now."""

import asyncio

import click
import msgspec

from hitrate.artifacts.blobs import BlobStore
from hitrate.artifacts.eviction import CacheLimits
from hitrate.artifacts.gc import CollectionReport, GarbageCollector
from hitrate.artifacts.store import ArtifactStore
from hitrate.cli.operator import operator_client
from hitrate.cli.options import json_option
from hitrate.cli.output import print_json, print_table
from hitrate.cli.server_options import check_data_dir_exists, settings_options
from hitrate.clock import Clock
from hitrate.config import Settings
from hitrate.datadir import DataDir, DataDirLock, read_server_info
from hitrate.db.engine import open_database
from hitrate.metrics import Metrics
from hitrate.units import format_size

_REASONS = {
    "expired": "unused for longer than --artifact-ttl",
    "overCacheLimit": "least recently used, over --max-cache-bytes",
    "overTeamCacheLimit": "least recently used, over --max-team-cache-bytes",
    "orphanBody": "bodies without an artifact (orphans)",
    "missingBody": "artifacts whose body is missing or damaged",
}


@click.command()
@click.option("--dry-run", is_flag=True, help="Only report what would be removed.")
@json_option
@settings_options("data_dir", "artifact_ttl", "max_cache_bytes", "max_team_cache_bytes")
def gc(settings: Settings, dry_run: bool, json_output: bool) -> None:
    """Evict expired artifacts and those above a size limit, and repair the index.

    While a server runs, its own settings apply instead of these options.
    """
    check_data_dir_exists(settings)
    running = read_server_info(settings.data_dir)
    if running is not None:
        with operator_client(settings, running) as server:
            body = server.request("POST", "/v1/operator/gc", dryRun="true" if dry_run else "false")
        report = msgspec.json.decode(body, type=CollectionReport)
    else:
        report = asyncio.run(_collect_offline(settings, dry_run))
    if json_output:
        print_json(report)
    else:
        _print_report(report)


async def _collect_offline(settings: Settings, dry_run: bool) -> CollectionReport:
    """Collect garbage without a server. Raises DataDirLocked."""
    clock = Clock()
    with DataDirLock(settings):
        engine = open_database(settings.data_dir)
        blobs = BlobStore(DataDir(settings.data_dir).artifacts, settings.min_free_bytes)
        store = ArtifactStore(engine, blobs, clock)
        store.open()
        limits = CacheLimits.from_settings(settings)
        collector = GarbageCollector(store, limits, Metrics(), clock, asyncio.get_running_loop())
        try:
            return await asyncio.to_thread(collector.collect, dry_run=dry_run)
        finally:
            await asyncio.to_thread(store.close)
            engine.dispose()


def _print_report(report: CollectionReport) -> None:
    heading = "Would remove" if report.dry_run else "Removed"
    rows = [
        (_REASONS[reason], removed.count, format_size(removed.size_bytes))
        for reason, removed in report.removed.items()
    ]
    if rows:
        print_table((heading, "Count", "Size"), rows)
    else:
        click.echo("Nothing to remove.")
