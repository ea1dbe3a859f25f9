"""Members of teams: changes, concurrency, and the last owner."""

from collections.abc import Callable

import pytest

from hitrate.auth.models import Permission, Scope
from hitrate.errors import BadRequest, Forbidden, NotFound
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR, Actor, Team, User
from tests.support.account_fixture import AccountFixture, bearer, run_concurrently

ANN = Actor("user", "usr_ann", "ann@example.com")


def demote(account_fixture: AccountFixture, team: Team, user: User) -> Callable[[], None]:
    """Return a function that changes the user's role to viewer."""
    members = account_fixture.members
    return lambda: members.change(team, user.id, OPERATOR, role=Role.VIEWER)


def add(account_fixture: AccountFixture, team: Team, user: User, role: Role) -> Callable[[], None]:
    """Return a function that adds the user."""
    return lambda: account_fixture.members.add(team, user, role, OPERATOR)


def test_adding_a_member_again_is_refused(account_fixture: AccountFixture) -> None:
    team = account_fixture.create_team()
    user = account_fixture.create_user((team, Role.DEVELOPER))
    with pytest.raises(BadRequest, match="already"):
        account_fixture.members.add(team, user, Role.OWNER, OPERATOR)
    assert account_fixture.roles(team) == [Role.DEVELOPER]


def test_concurrent_adds_create_one_membership(account_fixture: AccountFixture) -> None:
    team, user = account_fixture.create_team(), account_fixture.create_user()
    roles = (Role.VIEWER, Role.OWNER, Role.MEMBER)
    outcomes = run_concurrently(*(add(account_fixture, team, user, role) for role in roles))
    refusals = [refusal for refusal in outcomes if refusal]
    assert len(refusals) == 2
    assert len(account_fixture.members_by_id(team)) == 1


def test_memberships_are_ordered_by_slug_and_members_by_address(
    account_fixture: AccountFixture,
) -> None:
    teams = [account_fixture.create_team(slug) for slug in ("b", "a")]
    cid = account_fixture.create_user(
        *((team, Role.MEMBER) for team in teams), email="cid@example.com"
    )
    account_fixture.create_user((teams[0], Role.VIEWER), email="bob@example.com")
    assert [m.team.slug for m in account_fixture.members.list_for_user(cid)] == ["a", "b"]
    assert [m.user.email for m in account_fixture.members.list_for_team(teams[0])] == [
        "bob@example.com",
        "cid@example.com",
    ]


@pytest.mark.parametrize("user_id", ["usr_nobody", "", "' OR 1=1 --", "usr_\0"])
def test_changing_or_removing_an_unknown_member_raises_not_found(
    account_fixture: AccountFixture, user_id: str
) -> None:
    team = account_fixture.create_team()
    account_fixture.create_user((team, Role.OWNER))
    with pytest.raises(NotFound):
        account_fixture.members.change(team, user_id, OPERATOR, role=Role.OWNER)
    with pytest.raises(NotFound):
        account_fixture.members.remove(team, user_id, OPERATOR)


def test_removing_a_member_of_another_team_raises_not_found(
    account_fixture: AccountFixture,
) -> None:
    own_team, other_team = account_fixture.create_team(), account_fixture.create_team()
    outsider = account_fixture.create_user(
        (other_team, Role.OWNER), (third_team := account_fixture.create_team(), Role.OWNER)
    )
    with pytest.raises(NotFound):
        account_fixture.members.remove(own_team, outsider.id, OPERATOR)
    assert account_fixture.roles(other_team) == account_fixture.roles(third_team) == [Role.OWNER]


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.OWNER}))
def test_last_owner_cannot_be_demoted(account_fixture: AccountFixture, role: Role) -> None:
    team = account_fixture.create_team()
    owner = account_fixture.create_user((team, Role.OWNER))
    account_fixture.create_user((team, Role.MEMBER))
    with pytest.raises(BadRequest, match="last owner"):
        account_fixture.members.change(team, owner.id, OPERATOR, role=role)
    assert account_fixture.members_by_id(team)[owner.id].role is Role.OWNER


def test_last_owner_cannot_be_removed(account_fixture: AccountFixture) -> None:
    team = account_fixture.create_team()
    owner = account_fixture.create_user((team, Role.OWNER))
    with pytest.raises(BadRequest, match="Give another member the role OWNER first"):
        account_fixture.members.remove(team, owner.id, OPERATOR)
    other_owner = account_fixture.create_user((team, Role.OWNER))
    account_fixture.members.remove(team, owner.id, OPERATOR)
    assert list(account_fixture.members_by_id(team)) == [other_owner.id]


def test_disabled_owner_does_not_count_as_an_owner(account_fixture: AccountFixture) -> None:
    team = account_fixture.create_team()
    ann, bob = (account_fixture.create_user((team, Role.OWNER)) for _ in range(2))
    account_fixture.users.disable(bob)
    with pytest.raises(BadRequest, match="last owner"):
        account_fixture.members.remove(team, ann.id, OPERATOR)
    with pytest.raises(BadRequest, match="last owner"):
        account_fixture.members.change(team, ann.id, OPERATOR, role=Role.MEMBER)
    account_fixture.members.remove(team, bob.id, OPERATOR)
    assert account_fixture.roles(team) == [Role.OWNER]


def test_last_owner_may_keep_the_role_and_lose_the_cache(
    account_fixture: AccountFixture,
) -> None:
    team = account_fixture.create_team()
    owner = account_fixture.create_user((team, Role.OWNER))
    account_fixture.members.change(team, owner.id, OPERATOR, role=Role.OWNER)
    account_fixture.members.change(team, owner.id, OPERATOR, remote_caching=False)
    member = account_fixture.members_by_id(team)[owner.id]
    assert (member.role, member.remote_caching) == (Role.OWNER, False)


def test_last_member_of_a_team_without_owners_can_be_removed(
    account_fixture: AccountFixture,
) -> None:
    team = account_fixture.create_team()
    user = account_fixture.create_user((team, Role.BILLING))
    account_fixture.members.remove(team, user.id, OPERATOR)
    assert account_fixture.members_by_id(team) == {}


@pytest.mark.parametrize("attempt", range(5))
def test_concurrent_demotions_leave_one_owner(
    account_fixture: AccountFixture, attempt: int
) -> None:
    team = account_fixture.create_team()
    owners = [account_fixture.create_user((team, Role.OWNER)) for _ in range(2)]
    refusals = run_concurrently(*(demote(account_fixture, team, owner) for owner in owners))
    assert sum(refusal is not None for refusal in refusals) == 1, attempt
    assert account_fixture.roles(team) == [Role.OWNER, Role.VIEWER]


@pytest.mark.parametrize("attempt", range(5))
def test_concurrent_demotion_and_removal_leave_one_owner(
    account_fixture: AccountFixture, attempt: int
) -> None:
    team = account_fixture.create_team()
    ann, bob = (account_fixture.create_user((team, Role.OWNER)) for _ in range(2))
    run_concurrently(
        demote(account_fixture, team, ann),
        lambda: account_fixture.members.remove(team, bob.id, OPERATOR),
    )
    assert account_fixture.roles(team).count(Role.OWNER) == 1, attempt


def test_concurrent_removals_through_two_engines_leave_one_owner(
    account_fixture: AccountFixture,
) -> None:
    team = account_fixture.create_team()
    ann, bob = (account_fixture.create_user((team, Role.OWNER)) for _ in range(2))
    other = AccountFixture(account_fixture.data_dir)
    run_concurrently(
        lambda: account_fixture.members.remove(team, ann.id, OPERATOR),
        lambda: other.accounts.members.remove(team, bob.id, OPERATOR),
    )
    other.close()
    assert account_fixture.roles(team) == [Role.OWNER]


def test_removal_revokes_the_tokens_for_this_team_only(
    account_fixture: AccountFixture,
) -> None:
    own_team, other_team = account_fixture.create_team(), account_fixture.create_team()
    user = account_fixture.create_user((own_team, Role.MEMBER), (other_team, Role.MEMBER))
    own_team_token, _ = account_fixture.create_token(own_team, user)
    other_team_token, all_teams_token = (
        account_fixture.create_token(other_team, user),
        account_fixture.create_token(None, user),
    )
    team_token, _ = account_fixture.create_token(own_team)
    account_fixture.members.remove(own_team, user.id, ANN)
    state = {t.id: t.revoked_at_ms for t in account_fixture.tokens.all()}
    assert state[own_team_token.id] == account_fixture.manual_clock.value_ms
    assert (
        state[other_team_token[0].id]
        is state[all_teams_token[0].id]
        is state[team_token.id]
        is None
    )
    account_fixture.authorizer.authorize(
        bearer(all_teams_token[1]), f"slug={other_team.slug}".encode(), Permission.READ
    )
    with pytest.raises(Forbidden):
        account_fixture.authorizer.authorize(
            bearer(all_teams_token[1]), f"slug={own_team.slug}".encode(), Permission.READ
        )


def test_tokens_stay_revoked_after_the_member_is_added_again(
    account_fixture: AccountFixture,
) -> None:
    team = account_fixture.create_team()
    user = account_fixture.create_user((team, Role.MEMBER))
    old, _ = account_fixture.create_token(team, user)
    account_fixture.members.remove(team, user.id, OPERATOR)
    account_fixture.members.add(team, user, Role.OWNER, OPERATOR)
    assert account_fixture.tokens.get(old.id).revoked_at_ms is not None


def test_role_change_takes_effect_for_tokens_within_five_seconds(
    account_fixture: AccountFixture,
) -> None:
    team = account_fixture.create_team()
    account_fixture.create_user((team, Role.OWNER))
    user = account_fixture.create_user((team, Role.OWNER))
    _, secret = account_fixture.create_token(None, user, Scope)
    account_fixture.authorizer.authorize(bearer(secret), b"", Permission.MEMBERS)
    account_fixture.members.change(team, user.id, OPERATOR, role=Role.DEVELOPER)
    account_fixture.manual_clock.advance(5)
    account_fixture.authorizer.authorize(bearer(secret), b"", Permission.WRITE)
    with pytest.raises(Forbidden, match="the role DEVELOPER in the team"):
        account_fixture.authorizer.authorize(bearer(secret), b"", Permission.MEMBERS)


def test_changes_are_recorded_with_the_values_before_and_after(
    account_fixture: AccountFixture,
) -> None:
    team = account_fixture.create_team()
    user = account_fixture.create_user((team, Role.MEMBER))
    token, _ = account_fixture.create_token(team, user)
    account_fixture.members.change(team, user.id, ANN, role=Role.VIEWER, remote_caching=False)
    account_fixture.members.change(team, user.id, ANN, role=Role.VIEWER)  # changes nothing
    account_fixture.members.remove(team, user.id, ANN)
    removed, changed, *_ = account_fixture.audit.page(team.id, 10)
    assert [entry.action for entry in (changed, removed)] == ["member.change", "member.remove"]
    assert (changed.actor_name, changed.target) == ("ann@example.com", user.email)
    assert changed.details == {
        "before": {"role": "MEMBER", "remoteCaching": True},
        "after": {"role": "VIEWER", "remoteCaching": False},
    }
    assert removed.details == {"role": "VIEWER", "revokedTokens": [token.id]}
