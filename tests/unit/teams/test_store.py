"""Teams: slugs, names, and concurrent changes of settings."""

from collections.abc import Callable

import msgspec
import pytest
import sqlalchemy as sa

from hitrate.db.tables import TEAMS
from hitrate.errors import BadRequest, Forbidden
from hitrate.teams.models import OPERATOR, Actor, Team
from hitrate.teams.settings import Limits, TeamSettings, decode_settings, encode_settings
from hitrate.teams.store import SettingsChange
from tests.support.account_fixture import AccountFixture, run_concurrently

ANN = Actor("user", "usr_ann", "ann@example.com")


def set_values(**values: object) -> SettingsChange:
    """Return a change that sets these values."""
    return lambda settings: msgspec.structs.replace(settings, **values)


def test_new_team_has_default_settings(account_fixture: AccountFixture) -> None:
    team = account_fixture.teams.create("web", "Web people")
    assert (team.slug, team.name, team.settings) == ("web", "Web people", TeamSettings())
    assert team.id.startswith("team_")
    assert account_fixture.teams.all() == [team]
    assert account_fixture.teams.create("ops").name == "ops"


def test_team_is_found_by_slug_by_id_and_by_both(account_fixture: AccountFixture) -> None:
    own_team, other_team = account_fixture.create_team(), account_fixture.create_team()
    find = account_fixture.teams.find
    assert (
        find(slug=own_team.slug)
        == find(team_id=own_team.id)
        == find(slug=own_team.slug, team_id=own_team.id)
    )
    assert find(slug=own_team.slug, team_id=other_team.id) is None
    for wrong in (own_team.slug.upper(), own_team.id, "", "' OR 1=1 --", f"{own_team.slug}\0"):
        assert find(slug=wrong) is None


@pytest.mark.parametrize("name", [" ", "x" * 101, "a\nb", "a\x1b[31m", "\ud800"])
def test_unprintable_or_long_name_is_refused(account_fixture: AccountFixture, name: str) -> None:
    team = account_fixture.create_team()
    with pytest.raises(BadRequest, match="1 to 100 printable"):
        account_fixture.teams.rename(team, name, ANN)
    with pytest.raises(BadRequest, match="1 to 100 printable"):
        account_fixture.teams.create("other", name)
    assert account_fixture.teams.all() == [team]


def test_rename_changes_the_name_only_and_is_recorded_once(account_fixture: AccountFixture) -> None:
    team = account_fixture.create_team("web")
    for _ in range(2):
        account_fixture.teams.rename(team, "'; DROP TABLE teams; -- 😀", ANN)
    [renamed] = account_fixture.teams.all()
    assert renamed.name == "'; DROP TABLE teams; -- 😀"
    assert (renamed.id, renamed.slug) == (team.id, "web")
    assert account_fixture.audit_actions(team) == ["team.create", "team.rename"]
    entry = account_fixture.audit.page(team.id, 1)[0]
    assert entry.details == {"before": "web", "after": renamed.name}


def test_concurrent_creates_with_one_slug_create_one_team(account_fixture: AccountFixture) -> None:
    refusals = run_concurrently(*[lambda: account_fixture.teams.create("web")] * 3)
    assert sum(refusal is None for refusal in refusals) == 1
    assert len(account_fixture.teams.all()) == 1


def test_concurrent_changes_are_all_applied(account_fixture: AccountFixture) -> None:
    team = account_fixture.create_team()

    def change(values: dict[str, object]) -> Callable[[], Team]:
        return lambda: account_fixture.teams.change(
            team, set_values(**values), ANN, "settings.change"
        )

    run_concurrently(
        change({"remote_caching": False}),
        change({"requests_per_minute": 5}),
        change({"soft_blocked": True}),
        change({"currency": "EUR"}),
    )
    [changed] = account_fixture.teams.all()
    assert changed.settings == TeamSettings(
        remote_caching=False, requests_per_minute=5, soft_blocked=True, currency="EUR"
    )
    assert account_fixture.audit_actions(team).count("settings.change") == 4


def test_change_receives_the_current_settings(
    account_fixture: AccountFixture,
) -> None:
    stale = account_fixture.create_team()
    account_fixture.teams.change(stale, set_values(requests_per_minute=5), ANN, "settings.change")
    account_fixture.teams.change(
        stale,
        lambda now: msgspec.structs.replace(now, requests_per_minute=now.requests_per_minute + 1),  # type: ignore[operator]  # reason: it is 5
        ANN,
        "settings.change",
    )
    assert account_fixture.teams.all()[0].settings.requests_per_minute == 6


def test_change_records_the_differing_values_before_and_after(
    account_fixture: AccountFixture,
) -> None:
    team = account_fixture.create_team()
    new = set_values(remote_caching=False, limits=Limits(requests=7))
    for _ in range(2):
        account_fixture.teams.change(team, new, ANN, "settings.change")
    assert account_fixture.audit_actions(team) == ["team.create", "settings.change"]
    entry = account_fixture.audit.page(team.id, 1)[0]
    assert entry.details == {
        "before": {"remoteCaching": True, "limits.requests": None},
        "after": {"remoteCaching": False, "limits.requests": 7},
    }


def test_refused_change_changes_nothing(account_fixture: AccountFixture) -> None:
    team = account_fixture.create_team()

    def refuse(_settings: TeamSettings) -> TeamSettings:
        raise BadRequest("no")

    with pytest.raises(BadRequest):
        account_fixture.teams.change(team, refuse, ANN, "settings.change")
    assert account_fixture.teams.all() == [team]
    assert account_fixture.audit_actions(team) == ["team.create"]


def test_name_and_settings_change_together(account_fixture: AccountFixture) -> None:
    team = account_fixture.create_team("web")
    changed = account_fixture.teams.change(
        team, set_values(remote_caching=False), ANN, "settings.change", name="Web"
    )
    assert (changed.name, changed.settings.remote_caching) == ("Web", False)
    assert account_fixture.teams.all() == [changed]
    assert account_fixture.audit_actions(team) == ["team.create", "team.rename", "settings.change"]


@pytest.mark.parametrize("name", ["Web", " "], ids=["invalid settings", "invalid name"])
def test_name_and_settings_stay_when_either_is_invalid(
    account_fixture: AccountFixture, name: str
) -> None:
    team = account_fixture.create_team("web")

    def change(settings: TeamSettings) -> TeamSettings:
        if name == "Web":
            raise BadRequest("no")
        return msgspec.structs.replace(settings, remote_caching=False)

    with pytest.raises(BadRequest):
        account_fixture.teams.change(team, change, ANN, "settings.change", name=name)
    assert account_fixture.teams.all() == [team]
    assert account_fixture.audit_actions(team) == ["team.create"]


def test_changing_an_unknown_team_is_forbidden(account_fixture: AccountFixture) -> None:
    unknown_team = Team("team_ghost", "unknown", "unknown", 0)
    with pytest.raises(Forbidden):
        account_fixture.teams.change(
            unknown_team, set_values(soft_blocked=True), OPERATOR, "billing.change"
        )
    with pytest.raises(Forbidden):
        account_fixture.teams.rename(unknown_team, "Ghost", OPERATOR)
    assert account_fixture.audit_actions() == []


def test_settings_are_decoded_as_encoded_and_defaults_are_omitted(
    account_fixture: AccountFixture,
) -> None:
    settings = TeamSettings(
        remote_caching=False, limits=Limits(stored_bytes=2**62), spend_cap=0, paused_at_ms=1
    )
    assert decode_settings(encode_settings(settings)) == settings
    assert encode_settings(TeamSettings()) == "{}"
    team = account_fixture.create_team()
    with account_fixture.engine.connect() as connection:
        stored = connection.execute(sa.select(TEAMS.c.settings)).scalar()
    assert stored == encode_settings(team.settings)
