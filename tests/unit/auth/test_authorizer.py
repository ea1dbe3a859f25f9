"""Authentication and authorization of requests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hitrate.auth.accounts import AccountStore
from hitrate.auth.authorizer import Authorizer
from hitrate.auth.models import Permission
from hitrate.auth.permissions import READ_ONLY, READ_WRITE
from hitrate.clock import ManualClock
from hitrate.datadir import DataDir
from hitrate.db.engine import open_database
from hitrate.errors import BadRequest, Forbidden, NotFound, Unauthorized
from hitrate.teams.models import Team


class TwoTeams:
    """Two teams and an authorizer."""

    def __init__(self, data_dir: Path) -> None:
        self.engine = open_database(data_dir)
        self.clock = ManualClock()
        self.accounts = AccountStore(self.engine, self.clock)
        self.authorizer = Authorizer(self.accounts, self.clock)
        self.own_team: Team = self.accounts.teams.create("own")
        self.other_team: Team = self.accounts.teams.create("other")

    def token(self, *, read_only: bool = False, lifetime_s: float | None = None) -> bytes:
        scopes = READ_ONLY if read_only else READ_WRITE
        _, secret = self.accounts.tokens.create(
            self.own_team, "", scopes=scopes, lifetime_s=lifetime_s
        )
        return b"Bearer " + secret.encode()


@pytest.fixture
def teams(tmp_path: Path) -> Iterator[TwoTeams]:
    teams = TwoTeams(tmp_path)
    yield teams
    teams.engine.dispose()


def test_team_token_is_authorized_with_and_without_naming_its_team(teams: TwoTeams) -> None:
    token, team = teams.token(), teams.own_team
    for query in ("", f"teamId={team.id}", "slug=own", f"slug=own&teamId={team.id}"):
        assert teams.authorizer.authorize(token, query.encode(), Permission.WRITE).team == team


@pytest.mark.parametrize(
    "query",
    [
        "slug=other",
        "slug=nobodys",
        "teamId=team_x",
        "slug=own&teamId=team_x",
        "slug=own&slug=other",
    ],
)
def test_response_for_an_unknown_team_equals_that_for_another_team(
    teams: TwoTeams, query: str
) -> None:
    token = teams.token()
    with pytest.raises(Forbidden) as caught:
        teams.authorizer.authorize(token, query.encode(), Permission.READ)
    with pytest.raises(Forbidden) as other:
        teams.authorizer.authorize(token, f"teamId={teams.other_team.id}".encode(), Permission.READ)
    assert str(caught.value) == str(other.value)


@pytest.mark.parametrize(
    "header",
    [None, b"", b"Bearer", b"Bearer ", b"Basic abc", b"Bearer abc", b"Bearer \xff", b"hr_abc"],
)
def test_missing_or_invalid_token_is_unauthorized(teams: TwoTeams, header: bytes | None) -> None:
    with pytest.raises(Unauthorized):
        teams.authorizer.authorize(header, b"", Permission.READ)


def test_bearer_scheme_is_case_insensitive(teams: TwoTeams) -> None:
    token = teams.token().replace(b"Bearer", b"bEARER")
    teams.authorizer.authorize(token, b"", Permission.READ)


def test_read_only_token_reads_and_sends_events_but_does_not_write(teams: TwoTeams) -> None:
    token = teams.token(read_only=True)
    teams.authorizer.authorize(token, b"", Permission.READ)
    teams.authorizer.authorize(token, b"", Permission.EVENTS)
    with pytest.raises(Forbidden, match="`write`"):
        teams.authorizer.authorize(token, b"", Permission.WRITE)


def test_expired_token_is_refused_immediately(teams: TwoTeams) -> None:
    token = teams.token(lifetime_s=60)
    teams.authorizer.authorize(token, b"", Permission.READ)
    teams.clock.advance(60)
    with pytest.raises(Unauthorized):
        teams.authorizer.authorize(token, b"", Permission.READ)


def test_revoked_token_is_refused_within_five_seconds(teams: TwoTeams) -> None:
    token = teams.token()
    teams.authorizer.authorize(token, b"", Permission.READ)
    [token_record] = teams.accounts.tokens.list_for_team(teams.own_team)
    teams.accounts.tokens.revoke(token_record)
    teams.clock.advance(5)
    with pytest.raises(Unauthorized):
        teams.authorizer.authorize(token, b"", Permission.READ)


def test_token_created_at_runtime_is_authorized(teams: TwoTeams) -> None:
    for _ in range(3):
        teams.authorizer.authorize(teams.token(), b"", Permission.READ)


def test_operator_permission_requires_the_operator_token(teams: TwoTeams) -> None:
    _, secret = teams.accounts.tokens.create(None, "operator", lifetime_s=60)
    operator = b"Bearer " + secret.encode()
    teams.authorizer.authorize_operator(operator)
    assert (
        teams.authorizer.authorize(operator, b"slug=other", Permission.READ).team
        == teams.other_team
    )
    with pytest.raises(BadRequest, match="slug"):
        teams.authorizer.authorize(operator, b"", Permission.READ)
    with pytest.raises(Forbidden):
        teams.authorizer.authorize(operator, b"slug=nobodys", Permission.READ)
    with pytest.raises(Forbidden):
        teams.authorizer.authorize_operator(teams.token())


def test_secret_is_not_stored(teams: TwoTeams, tmp_path: Path) -> None:
    secret = teams.token().removeprefix(b"Bearer ")
    teams.engine.dispose()
    for file in tmp_path.iterdir():
        assert secret not in file.read_bytes(), file.name
    assert (DataDir(tmp_path).database).exists()


def test_duplicate_or_malformed_slug_is_refused(teams: TwoTeams) -> None:
    for slug in ("own", "", "-x", "Upper", "a b", "ä", "x" * 101, "../x"):
        with pytest.raises(BadRequest):
            teams.accounts.teams.create(slug)


def test_get_unknown_token_raises_not_found_with_its_id(teams: TwoTeams) -> None:
    with pytest.raises(NotFound, match="tok_nope"):
        teams.accounts.tokens.get("tok_nope")
