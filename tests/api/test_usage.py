"""What a team is told of its use: by the API, by the command and by the file alike."""

import json
from typing import Any

import msgspec
import pytest

from hitrate.billing.pricing import Amounts
from hitrate.billing.quotas import State
from hitrate.billing.usage import usage_of
from hitrate.billing.usage_cycles import PastCycle
from hitrate.teams.cycles import Cycle
from hitrate.teams.models import Team
from hitrate.teams.settings import Limits, Prices, TeamSettings
from tests.support.meter_harness import ms
from tests.support.raw_http import RawHttpClient, make_artifact
from tests.support.server import Server, eventually

HOUR_MS = 3_600_000
APRIL = Cycle(ms("2026-04-01"), ms("2026-05-01"))
MIDDLE_MS = ms("2026-04-16")


def usage(
    used: Amounts,
    *,
    now_ms: int = MIDDLE_MS,
    past: tuple[PastCycle, ...] = (),
    cycle: Cycle = APRIL,
    **settings: Any,
) -> dict[str, Any]:
    """As JSON would have it."""
    team = Team("team_x", "ours", "Ours", 0, TeamSettings(**settings))
    found = usage_of(team, State.ACTIVE, cycle, used, list(past), now_ms)
    built: dict[str, Any] = json.loads(msgspec.json.encode(found))
    return built


def test_all_is_named_as_in_the_rest_of_the_api() -> None:
    found = usage(Amounts())
    assert list(found) == ["team", "state", "currency", "current", "past"]
    assert list(found["current"]) == [
        "start", "end", "used", "limits", "left", "spendCap", "spendLeft", "forecast",
    ]  # fmt: skip
    measures = ["uploadedBytes", "downloadedBytes", "requests", "events", "storedBytes"]
    assert list(found["current"]["used"]) == [*measures, "averageStoredBytes", "cost"]
    assert list(found["current"]["left"]) == measures
    assert found["current"]["start"] == "2026-04-01T00:00:00.000Z"
    assert found["current"]["end"] == "2026-05-01T00:00:00.000Z"


def test_what_is_left_is_the_limit_less_the_use_and_never_below_nothing() -> None:
    used = Amounts(uploaded_bytes=40, downloaded_bytes=10, requests=11, events=3)
    found = usage(used, limits=Limits(100, 10, 10, None, 50))["current"]
    assert found["left"] == {
        "uploadedBytes": 60,
        "downloadedBytes": 0,
        "requests": 0,
        "events": None,
        "storedBytes": 50,
    }
    assert found["limits"]["requests"] == 10


def test_the_cost_so_far_and_what_is_left_of_the_cap() -> None:
    priced = Prices(uploaded_gb=500_000, million_requests=2_000_000)
    used = Amounts(uploaded_bytes=3 * 10**9, requests=1_000_001)
    found = usage(used, prices=priced, spend_cap=10_000_000, currency="EUR")
    assert found["currency"] == "EUR"
    assert found["current"]["used"]["cost"] == "3.500002"
    assert (found["current"]["spendCap"], found["current"]["spendLeft"]) == ("10.00", "6.499998")
    poor = usage(used, prices=priced, spend_cap=1)["current"]
    assert poor["spendLeft"] == "0.00"
    free = usage(used, prices=priced)["current"]
    assert (free["spendCap"], free["spendLeft"]) == (None, None)


def test_the_average_is_over_the_time_that_has_passed() -> None:
    used = Amounts(stored_bytes=100, stored_byte_ms=100 * (MIDDLE_MS - APRIL.start_ms) // 2)
    found = usage(used)["current"]
    assert found["used"]["storedBytes"] == 100
    assert found["used"]["averageStoredBytes"] == 50
    assert found["forecast"]["averageStoredBytes"] == 75


def test_the_forecast_names_limits_and_the_cap_that_will_be_reached() -> None:
    used = Amounts(uploaded_bytes=40, requests=5, events=49, stored_bytes=10)
    found = usage(
        used,
        limits=Limits(uploaded_bytes=80, requests=11, events=98, stored_bytes=11),
        prices=Prices(million_requests=1_000_000),
        spend_cap=10,
    )["current"]["forecast"]
    assert (found["uploadedBytes"], found["requests"], found["events"]) == (80, 10, 98)
    assert found["overLimit"] == ["uploaded_bytes", "events"]
    assert (found["cost"], found["overSpendCap"]) == ("0.00001", True)


@pytest.mark.parametrize("late_ms", [0, 1, 3000])
def test_at_and_after_the_cycles_end_the_forecast_is_what_was_used(late_ms: int) -> None:
    used = Amounts(5, 6, 7, 8, 9, 9 * (APRIL.end_ms - APRIL.start_ms))
    found = usage(used, now_ms=APRIL.end_ms + late_ms)["current"]
    forecast = {name: found["forecast"][name] for name in found["used"]}
    assert forecast | {"averageStoredBytes": 0} == found["used"] | {"averageStoredBytes": 0}
    assert forecast["averageStoredBytes"] == 9


def test_in_the_first_moment_nothing_fails_and_nothing_is_exaggerated() -> None:
    found = usage(Amounts(requests=3), now_ms=APRIL.start_ms)["current"]
    hours = (APRIL.end_ms - APRIL.start_ms) // HOUR_MS
    assert found["forecast"]["requests"] == 3 + 3 * hours


def test_past_cycles_are_shown_at_the_prices_of_their_end() -> None:
    march = PastCycle(
        ms("2026-03-01"), APRIL.start_ms, 1, 2, 3, 4, 5, 6, currency="EUR", cost=7_500_000
    )
    [past] = usage(Amounts(), past=(march,), currency="USD")["past"]
    assert past == {
        "start": "2026-03-01T00:00:00.000Z",
        "end": "2026-04-01T00:00:00.000Z",
        "currency": "EUR",
        "used": {
            "uploadedBytes": 1,
            "downloadedBytes": 2,
            "requests": 3,
            "events": 4,
            "storedBytes": 5,
            "averageStoredBytes": 6,
            "cost": "7.50",
        },
    }


# On a server


def of_api(server: Server) -> dict[str, Any]:
    answer = server.request("GET", f"/v1/teams/{server.team}/usage")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def of_command(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(server.command("team", "usage", server.team, "--json"))
    return found


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Equal; but for what grows with each millisecond, which is nearly so."""
    for name in ("forecast", "used"):
        for key, value in one["current"][name].items():
            if name == "forecast" or key in ("averageStoredBytes", "cost"):
                near = other["current"][name][key]
                if isinstance(value, str):
                    value, near = float(value), float(near)
                if isinstance(value, int | float):
                    assert near == pytest.approx(value, rel=0.02, abs=1000), f"{name}.{key}"
                other["current"][name][key] = one["current"][name][key]
    assert one == other


def use(server: Server) -> dict[str, int]:
    """Some of everything; what must have been counted."""
    small, large = make_artifact("small", 1, 1000), make_artifact("large", 1, 1_500_000)
    events = [
        {"sessionId": "s", "source": "REMOTE", "event": "HIT", "hash": f"h{n}"} for n in range(7)
    ]
    with RawHttpClient(server) as client:
        for artifact in (small, large):
            assert client.put(artifact, 400_000).status == 202
            assert client.get(artifact.hash).body == artifact.body
            assert client.request("HEAD", artifact.path).status == 200
        assert client.get("absent").status == 404
        assert client.request("HEAD", "/v8/artifacts/absent").status == 404
        assert client.post_events(json.dumps(events).encode()).status == 200
        assert client.request("POST", "/v8/artifacts", b'{"hashes":["small"]}').status == 200
        assert client.request("GET", "/v8/artifacts/status").status == 200
        assert client.request("OPTIONS", "/v8/artifacts/small").status == 200
        assert client.request("POST", "/v8/artifacts", b"no JSON").status == 400
        assert client.request("PATCH", "/v8/artifacts/small").status == 405
        assert client.request("GET", "/v8/elsewhere").status == 404
    return {
        "uploadedBytes": 1_501_000,
        "downloadedBytes": 1_501_000,
        "requests": 10,
        "events": 7,
        "storedBytes": 1_501_000,
    }


def test_api_command_and_file_tell_the_same_running_stopped_and_killed(server: Server) -> None:
    server.command(
        "team", "billing", server.team, "--price-stored-gb", "2.5", "--price-million-requests",
        "1000", "--spend-cap", "40", "--currency", "EUR",
    )  # fmt: skip
    server.command("team", "limit", server.team, "--requests", "500", "--stored-bytes", "1GB")
    expected = use(server)
    eventually(lambda: of_api(server)["current"]["spendCap"])
    told = of_api(server)
    used = told["current"]["used"]
    assert {name: used[name] for name in expected} == expected
    assert float(used["cost"]) == pytest.approx(0.01, abs=0.0001)
    assert told["current"]["left"]["requests"] == 490
    assert_same(told, of_command(server))
    server.kill()
    assert_same(told, of_command(server))
    server.start()
    assert_same(told, of_api(server))
    assert server.stop() == 0
    assert_same(told, of_command(server))
    server.start()
    assert_same(told, of_api(server))


def test_deleting_and_replacing_change_what_is_stored_and_nothing_else(server: Server) -> None:
    with RawHttpClient(server) as client:
        for version in range(3):
            assert client.put(make_artifact("one", version, 1000 * (version + 1))).status == 202
        used = of_api(server)["current"]["used"]
        assert (used["uploadedBytes"], used["storedBytes"], used["requests"]) == (6000, 3000, 3)
        assert client.request("DELETE", "/v8/artifacts").status == 200
    for tell in (of_api, of_command):
        used = tell(server)["current"]["used"]
        assert (used["uploadedBytes"], used["storedBytes"], used["requests"]) == (6000, 0, 4)


def test_what_retention_removes_is_seen_by_the_command_too(server: Server) -> None:
    with RawHttpClient(server) as client:
        assert client.put(make_artifact("one", 1, 1000)).status == 202
        assert client.put(make_artifact("two", 1, 500)).status == 202
    [blob] = [p for p in (server.data_dir / "artifacts").glob("*/*/*") if p.stat().st_size == 500]
    blob.unlink()
    server.command("gc")
    assert of_api(server)["current"]["used"]["storedBytes"] == 1000
    eventually(lambda: of_command(server)["current"]["used"]["storedBytes"] == 1000)


def test_the_command_prints_a_table_too(server: Server) -> None:
    use(server)
    printed = server.command("team", "usage", server.team)
    for word in ("cycle from", "Used", "Limit", "Left", "Forecast", "requests", "10", "cost"):
        assert word in printed, printed


def test_the_meter_is_private(server: Server) -> None:
    assert (server.data_dir / "meter.ndjson").stat().st_mode & 0o777 == 0o600
