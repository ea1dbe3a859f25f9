"""Measurements: each starts a server on a new data directory, fills it, warms it up, loads it.

The load follows the warm-up immediately: after ten idle seconds V8 discards optimized code, and the
peer is then slower than after its start.

Figures have names: `rate` (acknowledged requests per second), `p50_ms`, `p99_ms`, `max_ms`,
`cpu_us` (CPU time of the server per request), `other_cores` (cores that other programs kept busy),
and those of a particular load.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import disk
from benchmarks.client import Endpoint, artifact_bytes, counters, get_artifact, put_artifact
from benchmarks.errors import MeasurementError
from benchmarks.processes import CpuMeter, MemorySampler
from benchmarks.servers import Contender, Server, running
from benchmarks.uploads import upload_concurrently
from benchmarks.wrk import Load, LoadResult, new_seed, run_load

Figures = dict[str, float]

EVENTS_PATH = "/v8/artifacts/events"
ARTIFACTS_PATH = "/v8/artifacts"
WARM_UP_SLICE_S = 2
MIN_WARM_UP_SLICES, MAX_WARM_UP_SLICES = 3, 6
WARM_UP_GAIN = 1.05
GET_HASHES = 50
SAMPLED_UPLOADS = 20
LARGE_UPLOADS = 4
LOADING_TIMEOUT_S = 180
LOADING_POLL_INTERVAL_S = 0.02
MASK_64 = (1 << 64) - 1


@dataclass(frozen=True)
class RunConfig:
    """Settings of a run.

    `directory` exists, is on a real disk, and is removed by the caller; servers store their data
    there. `seconds` is the duration of a load. `quiet_timeout_s` is how long a measurement waits
    until other programs are idle; with 0 a disturbed measurement is not duplicates either.
    """

    directory: Path
    seconds: int
    quiet_timeout_s: int = 0


def events(contender: Contender, config: RunConfig, events_per_request: int) -> Figures:
    """POST batches of events over 64 connections. See `_load_events`."""
    with running(contender, disk.new_directory(config.directory)) as server:
        _warm_up(server, partial(_events_load, events_per_request))
        return _load_events(contender, server, events_per_request, config.seconds)


def get(contender: Contender, config: RunConfig, size_bytes: int) -> Figures:
    """GET artifacts of `size_bytes`, under GET_HASHES different hashes, over 32 connections."""
    artifacts = {secrets.token_hex(8): secrets.token_bytes(size_bytes) for _ in range(GET_HASHES)}

    def load(seconds: int) -> Load:
        return Load("get.lua", ARTIFACTS_PATH, tuple(artifacts), connections=32, seconds=seconds)

    with running(contender, disk.new_directory(config.directory)) as server:
        for name, body in artifacts.items():
            put_artifact(server.endpoint, name, body)
        _warm_up(server, load)
        result, figures = _measure(server, load(config.seconds))
        if result.bytes_read < result.acknowledged * size_bytes:
            raise MeasurementError("downloads are shorter than the artifacts")
        for name, body in artifacts.items():
            if get_artifact(server.endpoint, name) != body:
                raise MeasurementError(f"the download of {name} differs from the upload")
    return figures | {"mb_per_s": figures["rate"] * size_bytes / 1e6}


def put(contender: Contender, config: RunConfig, size_bytes: int, max_seconds: int) -> Figures:
    """PUT artifacts of `size_bytes`, each under a new hash, over 32 connections.

    Takes at most `max_seconds`, so that a fast server does not fill the disk.
    """
    disk.wait_for_inodes(config.directory)
    with running(contender, disk.new_directory(config.directory)) as server:
        _warm_up(server, partial(_put_load, size_bytes))
        seed = new_seed()
        load = _put_load(size_bytes, min(config.seconds, max_seconds), seed)
        _, figures = _measure(server, load)
        # From the second request on, because wrk never sends the first one that a script builds.
        for number in range(2, SAMPLED_UPLOADS + 2):
            name = _upload_hash(seed, number)
            body = get_artifact(server.endpoint, name)
            if len(body) != size_bytes or not body.startswith(name.encode()):
                raise MeasurementError(f"artifact {name} differs from the upload")
    return figures | {"mb_per_s": figures["rate"] * size_bytes / 1e6}


def upload_memory(contender: Contender, config: RunConfig, size_bytes: int) -> Figures:
    """Measure the peak memory of the server's process tree during four concurrent uploads."""
    names = [secrets.token_hex(8) for _ in range(LARGE_UPLOADS)]
    with running(contender, disk.new_directory(config.directory)) as server:
        disk.sync()
        started_at = time.perf_counter()
        with MemorySampler(server.pid) as sampler:
            upload_concurrently(server.endpoint, names, size_bytes)
            duration_s = time.perf_counter() - started_at
            peak = sampler.peak()
        for name in names:
            if artifact_bytes(server.endpoint, name) != size_bytes:
                raise MeasurementError(f"artifact {name} does not have the size of the upload")
    return {
        "peak_mb": peak.resident_bytes / 1e6,
        "high_water_mb": peak.high_water_bytes / 1e6,
        "mb_per_s": LARGE_UPLOADS * size_bytes / duration_s / 1e6,
    }


def start(contender: Contender, config: RunConfig) -> Figures:
    """Measure the time from spawning the server to its first response.

    Its data directory holds the events of a short full load and some thousand artifacts.
    """
    directory = disk.new_directory(config.directory)
    with running(contender, directory) as server:
        token = server.endpoint.token
        _load_events(contender, server, 100, WARM_UP_SLICE_S)
        run_load(server.endpoint, _put_load(10_000, WARM_UP_SLICE_S))
    disk.sync()
    with running(contender, directory, token) as server:
        return {"start_s": server.start_s}


def _warm_up(server: Server, load: Callable[[int], Load]) -> None:
    """Load the server until it gets no faster: V8 keeps optimizing for some seconds."""
    best = 0.0
    for number in range(MAX_WARM_UP_SLICES):
        rate = run_load(server.endpoint, load(WARM_UP_SLICE_S)).rate
        if number >= MIN_WARM_UP_SLICES - 1 and rate < best * WARM_UP_GAIN:
            return
        best = max(best, rate)


def _load_events(
    contender: Contender, server: Server, events_per_request: int, seconds: int
) -> Figures:
    """POST events. If the server stores them, wait until all are loaded and check their number.

    `loaded_per_s` is the number of loaded events divided by the time from the first request until
    the last event is loaded. `backlog` is the number of events not loaded when the load ends.
    """
    load = _events_load(events_per_request, seconds)
    if not contender.stores_events:
        return _measure(server, load)[1]
    before = _wait_until_loaded(server.endpoint)
    result, figures = _measure(server, load)
    loaded_at_end = counters(server.endpoint).get("hitrate_events_loaded_total", 0) - before
    loaded = _wait_until_loaded(server.endpoint) - before
    duration_s = time.perf_counter() - result.started_at
    acknowledged = result.acknowledged * events_per_request
    # wrk closes connections with requests in flight: these may be stored but not acknowledged.
    if not acknowledged <= loaded <= acknowledged + load.connections * events_per_request:
        raise MeasurementError(f"{acknowledged} events were acknowledged, but {loaded:.0f} loaded")
    return figures | {
        "loaded_per_s": loaded / duration_s,
        "backlog": loaded - loaded_at_end,
        "loading_s": duration_s - result.seconds,
    }


def _wait_until_loaded(endpoint: Endpoint) -> float:
    """Wait until no event is waiting to be loaded; return the number of loaded events."""
    deadline = time.monotonic() + LOADING_TIMEOUT_S
    while time.monotonic() < deadline:
        metrics = counters(endpoint)
        accepted = metrics.get("hitrate_events_accepted_total", 0)
        loaded = metrics.get("hitrate_events_loaded_total", 0)
        duplicates = metrics.get("hitrate_events_deduplicated_total", 0)
        if accepted == loaded + duplicates and metrics.get("hitrate_spool_bytes", 0) == 0:
            return loaded
        time.sleep(LOADING_POLL_INTERVAL_S)
    raise MeasurementError(f"events are not loaded after {LOADING_TIMEOUT_S} s: {metrics}")


def _measure(server: Server, load: Load) -> tuple[LoadResult, Figures]:
    disk.sync()
    meter = CpuMeter(server.pid)
    result = run_load(server.endpoint, load)
    used_s, other_cores = meter.read()
    return result, {
        "rate": result.rate,
        "p50_ms": result.p50_ms,
        "p99_ms": result.p99_ms,
        "max_ms": result.max_ms,
        "cpu_us": used_s / result.acknowledged * 1e6,
        "other_cores": other_cores,
    }


def _events_load(events_per_request: int, seconds: int) -> Load:
    arguments = (str(new_seed()), str(events_per_request))
    return Load("events.lua", EVENTS_PATH, arguments, connections=64, seconds=seconds)


def _put_load(size_bytes: int, seconds: int, seed: int | None = None) -> Load:
    arguments = (str(new_seed() if seed is None else seed), str(size_bytes))
    return Load("put.lua", ARTIFACTS_PATH, arguments, connections=32, seconds=seconds)


def _upload_hash(seed: int, number: int) -> str:
    """Return the hash that lua/put.lua uses for the `number`th request of its first thread."""
    z = ((seed << 40) + number + 0x9E3779B97F4A7C15) & MASK_64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK_64
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK_64
    return f"{z ^ z >> 31:016x}"
