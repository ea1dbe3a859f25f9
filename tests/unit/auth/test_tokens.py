"""Tokens in the database: made, rotated, revoked, listed; and what is kept of them."""

from itertools import pairwise

import pytest
import sqlalchemy as sa

from hitrate.auth import token_secrets
from hitrate.auth.models import Permission, Scope
from hitrate.auth.permissions import READ_ONLY, READ_WRITE
from hitrate.db.tables import TOKENS
from hitrate.errors import BadRequest, NotFound, RequestError, Unauthorized
from hitrate.teams.models import OPERATOR, Actor, Role
from tests.support.account_fixture import ALL_SCOPES, Town, at_once, bearer

ANN = Actor("user", "usr_ann", "ann@example.com")
DAY_S = 86400.0
YEAR_S = 366 * DAY_S


def test_a_token_is_of_a_team_of_a_person_of_both_or_the_operators(town: Town) -> None:
    team = town.team()
    user = town.person((team, Role.MEMBER))
    made = [town.token(team)[0], town.token(None, user)[0], town.token(team, user)[0]]
    operators, _ = town.token(scopes=())
    assert [(t.team, t.user, t.is_operator) for t in made] == [
        (team, None, False),
        (None, user, False),
        (team, user, False),
    ]
    assert operators.is_operator
    for token in (*made, operators):
        assert town.accounts.tokens.get(token.id) == token


def test_each_list_has_what_belongs_to_it_by_age(town: Town) -> None:
    ours, theirs = town.team(), town.team()
    user = town.person((ours, Role.MEMBER))
    made = []
    for team, who in [(ours, None), (ours, user), (None, user), (theirs, None), (ours, None)]:
        town.time.advance(1)
        made.append(town.token(team, who)[0])
    store = town.accounts.tokens
    assert store.of_team(ours) == [made[0], made[4]]
    assert store.of_team() == [made[0], made[3], made[4]]
    assert store.of_user(user) == [made[1], made[2]]
    assert store.all() == made


def test_an_operators_token_is_listed_unless_a_command_made_it_for_itself(town: Town) -> None:
    fleeting, _ = town.accounts.tokens.create(None, "", scopes=(), lifetime_s=60, actor=None)
    lasting = [town.token(scopes=(), lifetime_s=lifetime)[0] for lifetime in (None, DAY_S)]
    assert town.accounts.tokens.all() == lasting
    town.accounts.tokens.forget(fleeting)
    with pytest.raises(NotFound):
        town.accounts.tokens.get(fleeting.id)
    assert town.noted() == ["token.create", "token.create"]


def test_of_a_secret_only_its_hash_is_kept(town: Town) -> None:
    team = town.team()
    token, secret = town.token(team)
    rotated, second = town.accounts.tokens.rotate(token, 60, OPERATOR)
    for one, text in ((token, secret), (rotated, second)):
        found = town.accounts.tokens.find(token_secrets.digest(text.encode()))
        assert found is not None
        assert (found[0].id, found[1]) == (one.id, token_secrets.digest(text.encode()))
    assert town.accounts.tokens.find(secret.encode()) is None
    town.close()
    for file in town.folder.iterdir():
        content = file.read_bytes()
        for text in (secret, second, secret[3:20], second[3:20]):
            assert text.encode() not in content, file.name


@pytest.mark.parametrize("lifetime_s", [-1, -0.001, 101 * YEAR_S, float("inf"), float("nan")])
def test_a_lifetime_is_not_negative_and_not_endless(town: Town, lifetime_s: float) -> None:
    with pytest.raises(BadRequest, match="at most 100 years"):
        town.token(town.team(), lifetime_s=lifetime_s)
    token, _ = town.token(town.team())
    with pytest.raises(BadRequest, match="at most 100 years"):
        town.accounts.tokens.rotate(token, lifetime_s, OPERATOR)


def test_a_lifetime_ends_to_the_millisecond(town: Town) -> None:
    _, secret = town.token(town.team(), lifetime_s=0.25)
    town.time.advance(0.249)
    town.gate.identify(bearer(secret))
    town.time.advance(0.001)
    with pytest.raises(Unauthorized):
        town.gate.identify(bearer(secret))
    born_dead, secret = town.token(town.team(), lifetime_s=0)
    assert not born_dead.valid_at(town.time.value_ms)
    with pytest.raises(Unauthorized):
        town.gate.identify(bearer(secret))


@pytest.mark.parametrize(
    "label", ["x" * 201, "a\nb", "a\tb", "a\x1b[31m", "a\0", "a\u202e", "\ud800"]
)
def test_a_label_is_printable_and_not_too_long(town: Town, label: str) -> None:
    with pytest.raises(BadRequest, match="200 printable characters"):
        town.token(town.team(), label=label)


@pytest.mark.parametrize("label", ["", "x" * 200, "'; DROP TABLE tokens; --", '{"a": [1]}', "é😀"])
def test_any_other_label_comes_back_as_it_was_given(town: Town, label: str) -> None:
    token, _ = town.token(town.team(), label=label)
    assert town.accounts.tokens.get(token.id).label == label
    assert town.accounts.audit.page(None, 1)[0].details["label"] == label


def test_a_token_does_what_its_scopes_let_through(town: Town) -> None:
    team = town.team()
    for scope in Scope:
        _, secret = town.token(team, scopes=[scope])
        grant = town.gate.admit(bearer(secret), b"", Permission.TEAM)
        assert (Permission.WRITE in grant.access) == (scope is Scope.WRITE)
        assert (Permission.TOKENS in grant.access) == (scope is Scope.ADMIN)
        assert Permission.OPERATOR not in grant.access
    assert town.token(team)[0].scopes == READ_WRITE == READ_ONLY | {Scope.WRITE}


def test_revoking_ends_a_token_within_five_seconds_and_twice_is_no_error(town: Town) -> None:
    team = town.team()
    token, secret = town.token(team)
    town.gate.admit(bearer(secret), b"", Permission.READ)
    town.accounts.tokens.revoke(token, ANN)
    first = town.accounts.tokens.get(token.id).revoked_at_ms
    town.time.advance(5)
    with pytest.raises(Unauthorized):
        town.gate.admit(bearer(secret), b"", Permission.READ)
    town.accounts.tokens.revoke(token, ANN)
    assert town.accounts.tokens.get(token.id).revoked_at_ms == first
    assert town.noted(team) == ["team.create", "token.create", "token.revoke"]


def test_after_rotation_both_work_until_the_overlap_ends(town: Town) -> None:
    team = town.team()
    user = town.person((team, Role.MEMBER))
    for owner in (None, user):
        old, old_secret = town.token(team, owner, READ_ONLY, "ci", lifetime_s=30 * DAY_S)
        town.time.advance(DAY_S)
        new, new_secret = town.accounts.tokens.rotate(old, 3600, ANN)
        assert (new.team, new.user, new.label, new.scopes) == (team, owner, "ci", READ_ONLY)
        assert new.expires_at_ms == town.time.value_ms + 30 * 86_400_000
        town.time.advance(3599)
        for secret in (old_secret, new_secret):
            town.gate.admit(bearer(secret), b"", Permission.READ)
        town.time.advance(1)
        town.gate.admit(bearer(new_secret), b"", Permission.READ)
        with pytest.raises(Unauthorized):
            town.gate.admit(bearer(old_secret), b"", Permission.READ)


def test_a_token_without_an_end_is_followed_by_one_without_an_end(town: Town) -> None:
    old, _ = town.token(town.team())
    new, _ = town.accounts.tokens.rotate(old, 0, ANN)
    assert new.expires_at_ms is None
    assert not town.accounts.tokens.get(old.id).valid_at(town.time.value_ms)


def test_an_overlap_never_prolongs_the_old_token(town: Town) -> None:
    old, _ = town.token(town.team(), lifetime_s=60)
    town.accounts.tokens.rotate(old, DAY_S, ANN)
    assert town.accounts.tokens.get(old.id).expires_at_ms == old.expires_at_ms


def test_the_new_token_was_not_used_yet(town: Town) -> None:
    old, _ = town.token(town.team())
    town.accounts.tokens.write_last_uses({old.id: town.time.value_ms})
    new, _ = town.accounts.tokens.rotate(town.accounts.tokens.get(old.id), 60, ANN)
    assert town.accounts.tokens.get(new.id).used_at_ms is None


def test_what_is_expired_revoked_or_somebody_disableds_is_not_rotated(town: Town) -> None:
    team = town.team()
    user = town.person((team, Role.MEMBER))
    expired, revoked, disableds = (
        town.token(team, lifetime_s=0)[0],
        *(town.token(team, who)[0] for who in (None, user)),
    )
    town.accounts.tokens.revoke(revoked)
    town.accounts.users.disable(user)
    for token in (expired, revoked, disableds):
        with pytest.raises(BadRequest, match="create a new one"):
            town.accounts.tokens.rotate(token, 60, ANN)
    assert len(town.accounts.tokens.all()) == 3


def test_a_token_is_rotated_once_and_then_the_one_that_took_its_place(town: Town) -> None:
    team = town.team()
    first, _ = town.token(team)
    second, _ = town.accounts.tokens.rotate(first, 3600, ANN)
    with pytest.raises(BadRequest, match="rotated before"):
        town.accounts.tokens.rotate(town.accounts.tokens.get(first.id), 3600, ANN)
    third, _ = town.accounts.tokens.rotate(second, 3600, ANN)
    assert third.expires_at_ms is None
    assert [t.id for t in town.accounts.tokens.of_team(team)] == [first.id, second.id, third.id]


@pytest.mark.parametrize("attempt", range(3))
def test_rotated_twice_at_once_it_has_one_successor(town: Town, attempt: int) -> None:
    team = town.team()
    token, _ = town.token(team)
    rotate = town.accounts.tokens.rotate
    refusals = at_once(*[lambda: rotate(token, 60, ANN)] * 3)
    assert sum(refusal is None for refusal in refusals) == 1, attempt
    assert len(town.accounts.tokens.of_team(team)) == 2


@pytest.mark.parametrize("attempt", range(3))
def test_a_token_that_is_revoked_has_no_successor_afterwards(town: Town, attempt: int) -> None:
    token, _ = town.token(town.team())
    store = town.accounts.tokens
    refusals = at_once(lambda: store.revoke(token), lambda: store.rotate(token, 60, ANN))
    done = [action for action in town.noted() if action in ("token.revoke", "token.rotate")]
    refused = refusals[1] is not None
    assert done == (["token.revoke"] if refused else ["token.rotate", "token.revoke"]), attempt


def test_a_revocation_that_the_rotator_did_not_see_counts(town: Town) -> None:
    seen, _ = town.token(town.team())
    town.accounts.tokens.revoke(seen)
    with pytest.raises(BadRequest):
        town.accounts.tokens.rotate(seen, 60, ANN)


def test_the_last_use_is_shown_once_it_is_written(town: Town) -> None:
    team = town.team()
    token, secret = town.token(team)
    other, _ = town.token(team)
    town.time.advance(90)
    town.gate.admit(bearer(secret), b"", Permission.READ)
    town.accounts.tokens.write_last_uses(town.gate.take_last_uses())
    assert town.accounts.tokens.get(token.id).used_at_ms == town.time.value_ms
    assert town.accounts.tokens.get(other.id).used_at_ms is None
    assert town.gate.take_last_uses() == {}
    town.accounts.tokens.write_last_uses({"tok_gone": 1})


def test_a_refused_use_is_none(town: Town) -> None:
    _, secret = town.token(town.team(), scopes=[Scope.READ])
    with pytest.raises(RequestError):
        town.gate.admit(bearer(secret), b"", Permission.WRITE)
    assert town.gate.take_last_uses() == {}


@pytest.mark.parametrize("token_id", ["tok_none", "", "' OR 1=1 --", "tok_\0", "x" * 10_000])
def test_an_unknown_token_is_named_shortly(town: Town, token_id: str) -> None:
    town.token(town.team())
    with pytest.raises(NotFound) as caught:
        town.accounts.tokens.get(token_id)
    assert len(str(caught.value)) < 200


def test_ten_thousand_tokens_are_as_good_as_one(town: Town) -> None:
    team = town.team()
    secrets = [token_secrets.new_secret() for _ in range(10_000)]
    rows = [
        {"id": f"tok_{n:05}", "hash": token_secrets.digest(secret.encode()), "team_id": team.id,
         "label": "", "scopes": "read", "created_at": n}
        for n, secret in enumerate(secrets)
    ]  # fmt: skip
    with town.engine.begin() as connection:
        connection.execute(sa.insert(TOKENS), rows)
    listed = town.accounts.tokens.of_team(team)
    assert len(listed) == 10_000
    assert all(a.created_at_ms < b.created_at_ms for a, b in pairwise(listed))
    for secret in (secrets[0], secrets[5_000], secrets[-1]):
        town.gate.admit(bearer(secret), b"", Permission.READ)
    town.accounts.tokens.revoke(listed[5_000])
    town.gate.forget()
    with pytest.raises(Unauthorized):
        town.gate.admit(bearer(secrets[5_000]), b"", Permission.READ)


def test_what_is_said_of_a_token_in_the_log_is_no_secret(town: Town) -> None:
    token, secret = town.token(town.team(), scopes=ALL_SCOPES, lifetime_s=60)
    created = town.accounts.audit.page(None, 1)[0]
    assert created.target == token.id
    assert created.details == {
        "label": "",
        "scopes": ["admin", "analytics", "events", "read", "write"],
        "user": None,
        "expiresAt": token.expires_at_ms,
    }
    _, second = town.accounts.tokens.rotate(token, 30, ANN)
    rotated = town.accounts.audit.page(None, 1)[0]
    assert rotated.details["replaces"] == token.id
    assert rotated.details["ends"] == town.time.value_ms + 30_000
    assert not {secret, second} & {created.target, rotated.target}
