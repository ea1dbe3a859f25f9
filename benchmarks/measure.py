"""How each kind of load is measured: a server on a new folder is filled, warmed up and measured.

Each measurement has a server of its own, and warm-up and load follow each other closely: after
ten idle seconds V8 drops the code it optimized, and the peer is then slower than when it started.

Figures go by name: `rate` (acknowledged requests a second), `p50_ms`, `p99_ms`, `max_ms`, `cpu_us`
(processor time of the server for one request), `others_cores` (how many cores were busy with
something else than server and load), and what is particular to a load.
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
from benchmarks.uploads import upload_at_once
from benchmarks.wrk import Load, LoadResult, new_seed, run_load

Figures = dict[str, float]

EVENTS_PATH = "/v8/artifacts/events"
ARTIFACTS_PATH = "/v8/artifacts"
WARM_UP_SLICE_S = 2
WARM_UP_SLICES_MIN, WARM_UP_SLICES_MAX = 3, 6
WARM_UP_GAIN = 1.05
GET_HASHES = 50
SAMPLED_UPLOADS = 20
LARGE_UPLOADS = 4
LOADING_LIMIT_S = 180
LOADING_POLL_S = 0.02
MASK_64 = (1 << 64) - 1


@dataclass(frozen=True)
class Bench:
    """What all measurements share.

    `folder` exists and is where the servers' data goes: a real disk; the caller removes it.
    `seconds`: the length of a load. `patience_s`: how long a measurement may wait for other
    programs to be quiet; 0 also means that a disturbed one is not repeated.
    """

    folder: Path
    seconds: int
    patience_s: int = 0


def events(contender: Contender, bench: Bench, in_request: int) -> Figures:
    """POST batches of `in_request` events over 64 connections; see `_load_events`."""
    with running(contender, disk.new_folder(bench.folder)) as server:
        _warm_up(server, partial(_events_load, in_request))
        return _load_events(contender, server, in_request, bench.seconds)


def get(contender: Contender, bench: Bench, size_bytes: int) -> Figures:
    """GET artifacts of `size_bytes`, GET_HASHES different ones, over 32 connections."""
    artifacts = {secrets.token_hex(8): secrets.token_bytes(size_bytes) for _ in range(GET_HASHES)}

    def load(seconds: int) -> Load:
        return Load("get.lua", ARTIFACTS_PATH, tuple(artifacts), connections=32, seconds=seconds)

    with running(contender, disk.new_folder(bench.folder)) as server:
        for name, body in artifacts.items():
            put_artifact(server.endpoint, name, body)
        _warm_up(server, load)
        result, figures = _measure(server, load(bench.seconds))
        if result.bytes_read < result.acked * size_bytes:
            raise MeasurementError("downloads were shorter than the artifacts")
        for name, body in artifacts.items():
            if get_artifact(server.endpoint, name) != body:
                raise MeasurementError(f"the download of {name} is not what was uploaded")
    return figures | {"mb_per_s": figures["rate"] * size_bytes / 1e6}


def put(contender: Contender, bench: Bench, size_bytes: int, limit_s: int) -> Figures:
    """PUT artifacts of `size_bytes`, each under a new hash, over 32 connections.

    For `limit_s` at most, so that a fast server does not fill the disk.
    """
    disk.wait_for_inodes(bench.folder)
    with running(contender, disk.new_folder(bench.folder)) as server:
        _warm_up(server, partial(_put_load, size_bytes))
        seed = new_seed()
        load = _put_load(size_bytes, min(bench.seconds, limit_s), seed)
        _, figures = _measure(server, load)
        # From the second on: wrk asks the script for one request that it never sends.
        for number in range(2, SAMPLED_UPLOADS + 2):
            name = _hash_of(seed, number)
            body = get_artifact(server.endpoint, name)
            if len(body) != size_bytes or not body.startswith(name.encode()):
                raise MeasurementError(f"artifact {name} is not what was uploaded")
    return figures | {"mb_per_s": figures["rate"] * size_bytes / 1e6}


def upload_memory(contender: Contender, bench: Bench, size_bytes: int) -> Figures:
    """Peak memory of the server's process tree during four uploads of `size_bytes` at once."""
    names = [secrets.token_hex(8) for _ in range(LARGE_UPLOADS)]
    with running(contender, disk.new_folder(bench.folder)) as server:
        disk.settle()
        began_at = time.perf_counter()
        with MemorySampler(server.pid) as sampler:
            upload_at_once(server.endpoint, names, size_bytes)
            lasted_s = time.perf_counter() - began_at
            peak = sampler.peak()
        for name in names:
            if artifact_bytes(server.endpoint, name) != size_bytes:
                raise MeasurementError(f"artifact {name} has not the size that was uploaded")
    return {
        "peak_mb": peak.resident_bytes / 1e6,
        "high_water_mb": peak.high_water_bytes / 1e6,
        "mb_per_s": LARGE_UPLOADS * size_bytes / lasted_s / 1e6,
    }


def start(contender: Contender, bench: Bench) -> Figures:
    """From spawning the server to its first answer, on a folder that holds the events of a short
    full load and some thousand artifacts."""
    folder = disk.new_folder(bench.folder)
    with running(contender, folder) as server:
        token = server.endpoint.token
        _load_events(contender, server, 100, WARM_UP_SLICE_S)
        run_load(server.endpoint, _put_load(10_000, WARM_UP_SLICE_S))
    disk.settle()
    with running(contender, folder, token) as server:
        return {"start_s": server.start_s}


def _warm_up(server: Server, load: Callable[[int], Load]) -> None:
    """Load the server until it gets no faster: V8 goes on optimizing for some seconds."""
    best = 0.0
    for number in range(WARM_UP_SLICES_MAX):
        rate = run_load(server.endpoint, load(WARM_UP_SLICE_S)).rate
        if number >= WARM_UP_SLICES_MIN - 1 and rate < best * WARM_UP_GAIN:
            return
        best = max(best, rate)


def _load_events(contender: Contender, server: Server, in_request: int, seconds: int) -> Figures:
    """POST events; for a server that keeps them, wait until all are loaded and count them.

    `kept_per_s` is what was loaded, over the time from the first request until the last event
    was loaded.
    """
    load = _events_load(in_request, seconds)
    if not contender.keeps_events:
        return _measure(server, load)[1]
    before = _loaded(server.endpoint)
    result, figures = _measure(server, load)
    loaded_by_end = counters(server.endpoint).get("hitrate_events_loaded_total", 0) - before
    kept = _loaded(server.endpoint) - before
    lasted_s = time.perf_counter() - result.began_at
    sent = result.acked * in_request
    # wrk hangs up on the requests still under way at the end: they may have been kept, unacked.
    if not sent <= kept <= sent + load.connections * in_request:
        raise MeasurementError(f"{sent} events were acknowledged, {kept:.0f} were kept")
    return figures | {
        "kept_per_s": kept / lasted_s,
        "behind": kept - loaded_by_end,
        "loading_s": lasted_s - result.seconds,
    }


def _loaded(endpoint: Endpoint) -> float:
    """The number of events in the store, once nothing is on the way there any more."""
    deadline = time.monotonic() + LOADING_LIMIT_S
    while time.monotonic() < deadline:
        now = counters(endpoint)
        accepted = now.get("hitrate_events_accepted_total", 0)
        loaded = now.get("hitrate_events_loaded_total", 0)
        repeated = now.get("hitrate_events_deduplicated_total", 0)
        if accepted == loaded + repeated and now.get("hitrate_spool_bytes", 0) == 0:
            return loaded
        time.sleep(LOADING_POLL_S)
    raise MeasurementError(f"events were not loaded after {LOADING_LIMIT_S} s: {now}")


def _measure(server: Server, load: Load) -> tuple[LoadResult, Figures]:
    disk.settle()
    meter = CpuMeter(server.pid)
    result = run_load(server.endpoint, load)
    used_s, others_cores = meter.read()
    return result, {
        "rate": result.rate,
        "p50_ms": result.p50_ms,
        "p99_ms": result.p99_ms,
        "max_ms": result.max_ms,
        "cpu_us": used_s / result.acked * 1e6,
        "others_cores": others_cores,
    }


def _events_load(in_request: int, seconds: int) -> Load:
    arguments = (str(new_seed()), str(in_request))
    return Load("events.lua", EVENTS_PATH, arguments, connections=64, seconds=seconds)


def _put_load(size_bytes: int, seconds: int, seed: int | None = None) -> Load:
    arguments = (str(new_seed() if seed is None else seed), str(size_bytes))
    return Load("put.lua", ARTIFACTS_PATH, arguments, connections=32, seconds=seconds)


def _hash_of(seed: int, number: int) -> str:
    """The hash that lua/put.lua gives to the `number`th request of its first thread."""
    z = ((seed << 40) + number + 0x9E3779B97F4A7C15) & MASK_64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK_64
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK_64
    return f"{z ^ z >> 31:016x}"
