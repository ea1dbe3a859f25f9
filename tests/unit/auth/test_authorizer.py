"""The authorizer: who is let in, and who is not."""

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


class House:
    """Two teams and a authorizer."""

    def __init__(self, folder: Path) -> None:
        self.engine = open_database(folder)
        self.clock = ManualClock()
        self.accounts = AccountStore(self.engine, self.clock)
        self.authorizer = Authorizer(self.accounts, self.clock)
        self.ours: Team = self.accounts.teams.create("ours")
        self.theirs: Team = self.accounts.teams.create("theirs")

    def token(self, *, read_only: bool = False, lifetime_s: float | None = None) -> bytes:
        scopes = READ_ONLY if read_only else READ_WRITE
        _, secret = self.accounts.tokens.create(self.ours, "", scopes=scopes, lifetime_s=lifetime_s)
        return b"Bearer " + secret.encode()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.engine.dispose()


def test_a_token_acts_in_its_team_named_by_id_by_slug_by_both_or_not_at_all(house: House) -> None:
    token, team = house.token(), house.ours
    for query in ("", f"teamId={team.id}", "slug=ours", f"slug=ours&teamId={team.id}"):
        assert house.authorizer.authorize(token, query.encode(), Permission.WRITE).team == team


@pytest.mark.parametrize(
    "query",
    [
        "slug=theirs",
        "slug=nobodys",
        "teamId=team_x",
        "slug=ours&teamId=team_x",
        "slug=ours&slug=theirs",
    ],
)
def test_another_team_and_an_unknown_one_are_refused_alike(house: House, query: str) -> None:
    token = house.token()
    with pytest.raises(Forbidden) as caught:
        house.authorizer.authorize(token, query.encode(), Permission.READ)
    with pytest.raises(Forbidden) as other:
        house.authorizer.authorize(token, f"teamId={house.theirs.id}".encode(), Permission.READ)
    assert str(caught.value) == str(other.value)


@pytest.mark.parametrize(
    "header",
    [None, b"", b"Bearer", b"Bearer ", b"Basic abc", b"Bearer abc", b"Bearer \xff", b"hr_abc"],
)
def test_without_a_valid_token_nobody_comes_in(house: House, header: bytes | None) -> None:
    with pytest.raises(Unauthorized):
        house.authorizer.authorize(header, b"", Permission.READ)


def test_the_scheme_may_be_written_in_any_case(house: House) -> None:
    token = house.token().replace(b"Bearer", b"bEARER")
    house.authorizer.authorize(token, b"", Permission.READ)


def test_a_read_only_token_reads_and_sends_events_but_does_not_write(house: House) -> None:
    token = house.token(read_only=True)
    house.authorizer.authorize(token, b"", Permission.READ)
    house.authorizer.authorize(token, b"", Permission.EVENTS)
    with pytest.raises(Forbidden, match="`write`"):
        house.authorizer.authorize(token, b"", Permission.WRITE)


def test_an_expired_token_is_refused_at_once(house: House) -> None:
    token = house.token(lifetime_s=60)
    house.authorizer.authorize(token, b"", Permission.READ)
    house.clock.advance(60)
    with pytest.raises(Unauthorized):
        house.authorizer.authorize(token, b"", Permission.READ)


def test_a_revoked_token_is_refused_within_five_seconds(house: House) -> None:
    token = house.token()
    house.authorizer.authorize(token, b"", Permission.READ)
    [kept] = house.accounts.tokens.list_for_team(house.ours)
    house.accounts.tokens.revoke(kept)
    house.clock.advance(5)
    with pytest.raises(Unauthorized):
        house.authorizer.authorize(token, b"", Permission.READ)


def test_a_token_made_while_the_server_runs_is_known(house: House) -> None:
    for _ in range(3):
        house.authorizer.authorize(house.token(), b"", Permission.READ)


def test_only_the_operators_token_is_the_operators(house: House) -> None:
    _, secret = house.accounts.tokens.create(None, "operator", lifetime_s=60)
    operator = b"Bearer " + secret.encode()
    house.authorizer.authorize_operator(operator)
    assert (
        house.authorizer.authorize(operator, b"slug=theirs", Permission.READ).team == house.theirs
    )
    with pytest.raises(BadRequest, match="slug"):
        house.authorizer.authorize(operator, b"", Permission.READ)
    with pytest.raises(Forbidden):
        house.authorizer.authorize(operator, b"slug=nobodys", Permission.READ)
    with pytest.raises(Forbidden):
        house.authorizer.authorize_operator(house.token())


def test_no_secret_is_kept(house: House, tmp_path: Path) -> None:
    secret = house.token().removeprefix(b"Bearer ")
    house.engine.dispose()
    for file in tmp_path.iterdir():
        assert secret not in file.read_bytes(), file.name
    assert (DataDir(tmp_path).database).exists()


def test_a_slug_is_taken_once_and_has_a_form(house: House) -> None:
    for slug in ("ours", "", "-x", "Upper", "a b", "ä", "x" * 101, "../x"):
        with pytest.raises(BadRequest):
            house.accounts.teams.create(slug)


def test_an_unknown_token_is_named(house: House) -> None:
    with pytest.raises(NotFound, match="tok_nope"):
        house.accounts.tokens.get("tok_nope")
