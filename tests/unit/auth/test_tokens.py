"""Tokens in the database: creation, rotation, revocation, lists and last use."""

from itertools import pairwise

import pytest
import sqlalchemy as sa

from hitrate.auth import tokens
from hitrate.auth.models import Permission, Scope, TokenOrigin
from hitrate.auth.permissions import READ_ONLY, READ_WRITE
from hitrate.db.tables import TOKENS
from hitrate.errors import BadRequest, NotFound, RequestError, Unauthorized
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR, Actor
from tests.support.account_fixture import ALL_SCOPES, AccountFixture, bearer, run_concurrently

ANN = Actor("user", "usr_ann", "ann@example.com")
DAY_S = 86400.0
YEAR_S = 366 * DAY_S


def test_token_belongs_to_a_team_a_user_both_or_the_operator(
    account_fixture: AccountFixture,
) -> None:
    team = account_fixture.create_team()
    user = account_fixture.create_user((team, Role.MEMBER))
    created = [
        account_fixture.create_token(team)[0],
        account_fixture.create_token(None, user)[0],
        account_fixture.create_token(team, user)[0],
    ]
    operator_token, _ = account_fixture.create_token(scopes=())
    assert [(t.team, t.user, t.is_operator) for t in created] == [
        (team, None, False),
        (None, user, False),
        (team, user, False),
    ]
    assert operator_token.is_operator
    for token in (*created, operator_token):
        assert account_fixture.tokens.get(token.id) == token


def test_lists_contain_their_tokens_oldest_first(account_fixture: AccountFixture) -> None:
    own_team, other_team = account_fixture.create_team(), account_fixture.create_team()
    user = account_fixture.create_user((own_team, Role.MEMBER))
    created = []
    for team, user_or_none in [
        (own_team, None),
        (own_team, user),
        (None, user),
        (other_team, None),
        (own_team, None),
    ]:
        account_fixture.manual_clock.advance(1)
        created.append(account_fixture.create_token(team, user_or_none)[0])
    store = account_fixture.tokens
    assert store.list_for_team(own_team) == [created[0], created[4]]
    assert store.list_for_team() == [created[0], created[3], created[4]]
    assert store.list_for_user(user) == [created[1], created[2]]
    assert store.all() == created


def test_operator_token_is_listed_unless_a_command_created_it_for_itself(
    account_fixture: AccountFixture,
) -> None:
    command_token, _ = account_fixture.tokens.create(None, "", scopes=(), lifetime_s=60, actor=None)
    token_list = [
        account_fixture.create_token(scopes=(), lifetime_s=lifetime)[0]
        for lifetime in (None, DAY_S)
    ]
    assert account_fixture.tokens.all() == token_list
    account_fixture.tokens.delete(command_token)
    with pytest.raises(NotFound):
        account_fixture.tokens.get(command_token.id)
    assert account_fixture.audit_actions() == ["token.create", "token.create"]


def test_only_the_digest_of_a_secret_is_stored(account_fixture: AccountFixture) -> None:
    team = account_fixture.create_team()
    token, secret = account_fixture.create_token(team)
    rotated, second = account_fixture.tokens.rotate(token, 60, OPERATOR)
    for one, text in ((token, secret), (rotated, second)):
        result = account_fixture.tokens.find(tokens.digest(text.encode()))
        assert result is not None
        assert (result[0].id, result[1]) == (one.id, tokens.digest(text.encode()))
    assert account_fixture.tokens.find(secret.encode()) is None
    account_fixture.close()
    for file in account_fixture.data_dir.iterdir():
        content = file.read_bytes()
        for text in (secret, second, secret[3:20], second[3:20]):
            assert text.encode() not in content, file.name


@pytest.mark.parametrize("lifetime_s", [-1, -0.001, 101 * YEAR_S, float("inf"), float("nan")])
def test_lifetime_is_between_zero_and_100_years(
    account_fixture: AccountFixture, lifetime_s: float
) -> None:
    with pytest.raises(BadRequest, match="at most 100 years"):
        account_fixture.create_token(account_fixture.create_team(), lifetime_s=lifetime_s)
    token, _ = account_fixture.create_token(account_fixture.create_team())
    with pytest.raises(BadRequest, match="at most 100 years"):
        account_fixture.tokens.rotate(token, lifetime_s, OPERATOR)


def test_token_expires_to_the_millisecond(account_fixture: AccountFixture) -> None:
    _, secret = account_fixture.create_token(account_fixture.create_team(), lifetime_s=0.25)
    account_fixture.manual_clock.advance(0.249)
    account_fixture.authorizer.authenticate(bearer(secret))
    account_fixture.manual_clock.advance(0.001)
    with pytest.raises(Unauthorized):
        account_fixture.authorizer.authenticate(bearer(secret))
    expired, secret = account_fixture.create_token(account_fixture.create_team(), lifetime_s=0)
    assert not expired.valid_at(account_fixture.manual_clock.value_ms)
    with pytest.raises(Unauthorized):
        account_fixture.authorizer.authenticate(bearer(secret))


@pytest.mark.parametrize(
    "label", ["x" * 201, "a\nb", "a\tb", "a\x1b[31m", "a\0", "a\u202e", "\ud800"]
)
def test_unprintable_or_long_label_is_refused(account_fixture: AccountFixture, label: str) -> None:
    with pytest.raises(BadRequest, match="200 printable characters"):
        account_fixture.create_token(account_fixture.create_team(), label=label)


@pytest.mark.parametrize("label", ["", "x" * 200, "'; DROP TABLE tokens; --", '{"a": [1]}', "é😀"])
def test_label_is_stored_unchanged(account_fixture: AccountFixture, label: str) -> None:
    token, _ = account_fixture.create_token(account_fixture.create_team(), label=label)
    assert account_fixture.tokens.get(token.id).label == label
    assert account_fixture.audit.page(None, 1)[0].details["label"] == label


def test_scopes_limit_the_permissions_of_a_token(account_fixture: AccountFixture) -> None:
    team = account_fixture.create_team()
    for scope in Scope:
        _, secret = account_fixture.create_token(team, scopes=[scope])
        auth = account_fixture.authorizer.authorize(bearer(secret), b"", Permission.TEAM)
        assert (Permission.WRITE in auth.permissions) == (scope is Scope.WRITE)
        assert (Permission.TOKENS in auth.permissions) == (scope is Scope.ADMIN)
        assert Permission.OPERATOR not in auth.permissions
    assert account_fixture.create_token(team)[0].scopes == READ_WRITE == READ_ONLY | {Scope.WRITE}


def test_revocation_takes_effect_within_five_seconds_and_is_idempotent(
    account_fixture: AccountFixture,
) -> None:
    team = account_fixture.create_team()
    token, secret = account_fixture.create_token(team)
    account_fixture.authorizer.authorize(bearer(secret), b"", Permission.READ)
    account_fixture.tokens.revoke(token, ANN)
    first = account_fixture.tokens.get(token.id).revoked_at_ms
    account_fixture.manual_clock.advance(5)
    with pytest.raises(Unauthorized):
        account_fixture.authorizer.authorize(bearer(secret), b"", Permission.READ)
    account_fixture.tokens.revoke(token, ANN)
    assert account_fixture.tokens.get(token.id).revoked_at_ms == first
    assert account_fixture.audit_actions(team) == ["team.create", "token.create", "token.revoke"]


def test_rotated_token_and_successor_are_valid_during_the_overlap(
    account_fixture: AccountFixture,
) -> None:
    team = account_fixture.create_team()
    user = account_fixture.create_user((team, Role.MEMBER))
    for owner in (None, user):
        old, old_secret = account_fixture.create_token(
            team, owner, READ_ONLY, "ci", lifetime_s=30 * DAY_S
        )
        account_fixture.manual_clock.advance(DAY_S)
        new, new_secret = account_fixture.tokens.rotate(old, 3600, ANN)
        assert (new.team, new.user, new.label, new.scopes) == (team, owner, "ci", READ_ONLY)
        assert new.expires_at_ms == account_fixture.manual_clock.value_ms + 30 * 86_400_000
        account_fixture.manual_clock.advance(3599)
        for secret in (old_secret, new_secret):
            account_fixture.authorizer.authorize(bearer(secret), b"", Permission.READ)
        account_fixture.manual_clock.advance(1)
        account_fixture.authorizer.authorize(bearer(new_secret), b"", Permission.READ)
        with pytest.raises(Unauthorized):
            account_fixture.authorizer.authorize(bearer(old_secret), b"", Permission.READ)


def test_successor_of_a_token_without_expiry_does_not_expire(
    account_fixture: AccountFixture,
) -> None:
    old, _ = account_fixture.create_token(account_fixture.create_team())
    new, _ = account_fixture.tokens.rotate(old, 0, ANN)
    assert new.expires_at_ms is None
    assert not account_fixture.tokens.get(old.id).valid_at(account_fixture.manual_clock.value_ms)


def test_overlap_does_not_extend_the_rotated_token(account_fixture: AccountFixture) -> None:
    old, _ = account_fixture.create_token(account_fixture.create_team(), lifetime_s=60)
    account_fixture.tokens.rotate(old, DAY_S, ANN)
    assert account_fixture.tokens.get(old.id).expires_at_ms == old.expires_at_ms


def test_successor_has_no_last_use(account_fixture: AccountFixture) -> None:
    old, _ = account_fixture.create_token(account_fixture.create_team())
    account_fixture.tokens.save_last_used({old.id: account_fixture.manual_clock.value_ms})
    new, _ = account_fixture.tokens.rotate(account_fixture.tokens.get(old.id), 60, ANN)
    assert account_fixture.tokens.get(new.id).used_at_ms is None


def test_rotating_an_invalid_token_is_refused(
    account_fixture: AccountFixture,
) -> None:
    team = account_fixture.create_team()
    user = account_fixture.create_user((team, Role.MEMBER))
    expired, revoked, of_disabled_user = (
        account_fixture.create_token(team, lifetime_s=0)[0],
        *(account_fixture.create_token(team, user_or_none)[0] for user_or_none in (None, user)),
    )
    account_fixture.tokens.revoke(revoked)
    account_fixture.users.disable(user)
    for token in (expired, revoked, of_disabled_user):
        with pytest.raises(BadRequest, match="create a new one"):
            account_fixture.tokens.rotate(token, 60, ANN)
    assert len(account_fixture.tokens.all()) == 3


def test_token_is_rotated_once_and_then_its_successor(
    account_fixture: AccountFixture,
) -> None:
    team = account_fixture.create_team()
    first, _ = account_fixture.create_token(team)
    second, _ = account_fixture.tokens.rotate(first, 3600, ANN)
    with pytest.raises(BadRequest, match="rotated before"):
        account_fixture.tokens.rotate(account_fixture.tokens.get(first.id), 3600, ANN)
    third, _ = account_fixture.tokens.rotate(second, 3600, ANN)
    assert third.expires_at_ms is None
    assert [t.id for t in account_fixture.tokens.list_for_team(team)] == [
        first.id,
        second.id,
        third.id,
    ]


@pytest.mark.parametrize("origin", TokenOrigin)
def test_rotation_sets_the_successor_and_keeps_the_origin(
    account_fixture: AccountFixture, origin: TokenOrigin
) -> None:
    store, team = account_fixture.tokens, account_fixture.create_team()
    user = account_fixture.create_user((team, Role.MEMBER))
    old, _ = store.create(team, "Turbo CLI via SAML/OIDC Single Sign-On", user=user, origin=origin)
    assert (store.get(old.id).origin, store.get(old.id).replaced_by) == (origin, None)
    new, _ = store.rotate(old, 60, ANN)
    assert store.get(old.id).replaced_by == new.id
    assert (store.get(new.id).origin, store.get(new.id).replaced_by) == (origin, None)
    with pytest.raises(BadRequest, match=f"rotate its successor {new.id}"):
        store.rotate(old, 60, ANN)


def test_tokens_are_manual_by_default_whatever_their_label(account_fixture: AccountFixture) -> None:
    label = "Turbo CLI on laptop via SAML/OIDC Single Sign-On"
    user = account_fixture.create_user()
    for owner in (None, user):
        token, _ = account_fixture.create_token(None, owner, label=label)
        assert account_fixture.tokens.get(token.id).origin is TokenOrigin.MANUAL


@pytest.mark.parametrize("attempt", range(3))
def test_concurrent_rotations_create_one_successor(
    account_fixture: AccountFixture, attempt: int
) -> None:
    team = account_fixture.create_team()
    token, _ = account_fixture.create_token(team)
    rotate = account_fixture.tokens.rotate
    refusals = run_concurrently(*[lambda: rotate(token, 60, ANN)] * 3)
    assert sum(refusal is None for refusal in refusals) == 1, attempt
    assert len(account_fixture.tokens.list_for_team(team)) == 2


@pytest.mark.parametrize("attempt", range(3))
def test_token_revoked_during_rotation_is_not_rotated_afterwards(
    account_fixture: AccountFixture, attempt: int
) -> None:
    token, _ = account_fixture.create_token(account_fixture.create_team())
    store = account_fixture.tokens
    refusals = run_concurrently(lambda: store.revoke(token), lambda: store.rotate(token, 60, ANN))
    actions = [
        action
        for action in account_fixture.audit_actions()
        if action in ("token.revoke", "token.rotate")
    ]
    refused = refusals[1] is not None
    assert actions == (["token.revoke"] if refused else ["token.rotate", "token.revoke"]), attempt


def test_rotation_reads_the_current_state_of_the_token(account_fixture: AccountFixture) -> None:
    stale, _ = account_fixture.create_token(account_fixture.create_team())
    account_fixture.tokens.revoke(stale)
    with pytest.raises(BadRequest):
        account_fixture.tokens.rotate(stale, 60, ANN)


def test_last_use_is_returned_after_it_is_saved(account_fixture: AccountFixture) -> None:
    team = account_fixture.create_team()
    token, secret = account_fixture.create_token(team)
    other, _ = account_fixture.create_token(team)
    account_fixture.manual_clock.advance(90)
    account_fixture.authorizer.authorize(bearer(secret), b"", Permission.READ)
    account_fixture.tokens.save_last_used(account_fixture.authorizer.drain_last_used())
    assert account_fixture.tokens.get(token.id).used_at_ms == account_fixture.manual_clock.value_ms
    assert account_fixture.tokens.get(other.id).used_at_ms is None
    assert account_fixture.authorizer.drain_last_used() == {}
    account_fixture.tokens.save_last_used({"tok_gone": 1})


def test_forbidden_request_is_not_a_use(account_fixture: AccountFixture) -> None:
    _, secret = account_fixture.create_token(account_fixture.create_team(), scopes=[Scope.READ])
    with pytest.raises(RequestError):
        account_fixture.authorizer.authorize(bearer(secret), b"", Permission.WRITE)
    assert account_fixture.authorizer.drain_last_used() == {}


@pytest.mark.parametrize("token_id", ["tok_none", "", "' OR 1=1 --", "tok_\0", "x" * 10_000])
def test_unknown_token_error_is_short(account_fixture: AccountFixture, token_id: str) -> None:
    account_fixture.create_token(account_fixture.create_team())
    with pytest.raises(NotFound) as caught:
        account_fixture.tokens.get(token_id)
    assert len(str(caught.value)) < 200


def test_ten_thousand_tokens_are_listed_found_and_revoked(account_fixture: AccountFixture) -> None:
    team = account_fixture.create_team()
    secrets = [tokens.new_secret() for _ in range(10_000)]
    rows = [
        {"id": f"tok_{n:05}", "hash": tokens.digest(secret.encode()), "team_id": team.id,
         "label": "", "scopes": "read", "created_at": n}
        for n, secret in enumerate(secrets)
    ]  # fmt: skip
    with account_fixture.engine.begin() as connection:
        connection.execute(sa.insert(TOKENS), rows)
    token_list = account_fixture.tokens.list_for_team(team)
    assert len(token_list) == 10_000
    assert all(a.created_at_ms < b.created_at_ms for a, b in pairwise(token_list))
    for secret in (secrets[0], secrets[5_000], secrets[-1]):
        account_fixture.authorizer.authorize(bearer(secret), b"", Permission.READ)
    account_fixture.tokens.revoke(token_list[5_000])
    account_fixture.authorizer.invalidate_cache()
    with pytest.raises(Unauthorized):
        account_fixture.authorizer.authorize(bearer(secrets[5_000]), b"", Permission.READ)


def test_audit_entries_of_a_token_contain_no_secret(account_fixture: AccountFixture) -> None:
    token, secret = account_fixture.create_token(
        account_fixture.create_team(), scopes=ALL_SCOPES, lifetime_s=60
    )
    created = account_fixture.audit.page(None, 1)[0]
    assert created.target == token.id
    assert created.details == {
        "label": "",
        "scopes": ["admin", "analytics", "events", "read", "write"],
        "user": None,
        "expiresAt": token.expires_at_ms,
    }
    _, second = account_fixture.tokens.rotate(token, 30, ANN)
    rotated = account_fixture.audit.page(None, 1)[0]
    assert rotated.details["replaces"] == token.id
    assert rotated.details["ends"] == account_fixture.manual_clock.value_ms + 30_000
    assert not {secret, second} & {created.target, rotated.target}
