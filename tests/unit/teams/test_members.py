"""Who is in a team: added, changed and removed; and the last owner, who stays."""

from collections.abc import Callable

import pytest

from hitrate.auth.models import Permission, Scope
from hitrate.errors import BadRequest, Forbidden, NotFound
from hitrate.roles import Role
from hitrate.teams.models import OPERATOR, Actor, Team, User
from tests.support.account_fixture import AccountFixture, bearer, run_concurrently

ANN = Actor("user", "usr_ann", "ann@example.com")


def demote(account_fixture: AccountFixture, team: Team, user: User) -> Callable[[], None]:
    """To be done later."""
    members = account_fixture.members
    return lambda: members.change(team, user.id, OPERATOR, role=Role.VIEWER)


def add(account_fixture: AccountFixture, team: Team, user: User, role: Role) -> Callable[[], None]:
    """To be done later."""
    return lambda: account_fixture.members.add(team, user, role, OPERATOR)


def test_a_person_is_in_a_team_once_with_one_role(account_fixture: AccountFixture) -> None:
    team = account_fixture.create_team()
    user = account_fixture.create_user((team, Role.DEVELOPER))
    with pytest.raises(BadRequest, match="already"):
        account_fixture.members.add(team, user, Role.OWNER, OPERATOR)
    assert account_fixture.roles(team) == [Role.DEVELOPER]


def test_added_twice_at_once_they_are_in_it_once(account_fixture: AccountFixture) -> None:
    team, user = account_fixture.create_team(), account_fixture.create_user()
    roles = (Role.VIEWER, Role.OWNER, Role.MEMBER)
    outcomes = run_concurrently(*(add(account_fixture, team, user, role) for role in roles))
    refusals = [refusal for refusal in outcomes if refusal]
    assert len(refusals) == 2
    assert len(account_fixture.members_by_id(team)) == 1


def test_teams_are_listed_by_slug_and_members_by_address(account_fixture: AccountFixture) -> None:
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
def test_who_is_not_in_the_team_is_neither_changed_nor_removed(
    account_fixture: AccountFixture, user_id: str
) -> None:
    team = account_fixture.create_team()
    account_fixture.create_user((team, Role.OWNER))
    with pytest.raises(NotFound):
        account_fixture.members.change(team, user_id, OPERATOR, role=Role.OWNER)
    with pytest.raises(NotFound):
        account_fixture.members.remove(team, user_id, OPERATOR)


def test_a_member_of_another_team_is_not_in_this_one(account_fixture: AccountFixture) -> None:
    ours, theirs = account_fixture.create_team(), account_fixture.create_team()
    stranger = account_fixture.create_user(
        (theirs, Role.OWNER), (theirs_too := account_fixture.create_team(), Role.OWNER)
    )
    with pytest.raises(NotFound):
        account_fixture.members.remove(ours, stranger.id, OPERATOR)
    assert account_fixture.roles(theirs) == account_fixture.roles(theirs_too) == [Role.OWNER]


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.OWNER}))
def test_the_last_owner_is_not_demoted(account_fixture: AccountFixture, role: Role) -> None:
    team = account_fixture.create_team()
    owner = account_fixture.create_user((team, Role.OWNER))
    account_fixture.create_user((team, Role.MEMBER))
    with pytest.raises(BadRequest, match="last owner"):
        account_fixture.members.change(team, owner.id, OPERATOR, role=role)
    assert account_fixture.members_by_id(team)[owner.id].role is Role.OWNER


def test_the_last_owner_does_not_leave(account_fixture: AccountFixture) -> None:
    team = account_fixture.create_team()
    owner = account_fixture.create_user((team, Role.OWNER))
    with pytest.raises(BadRequest, match="Give another member the role OWNER first"):
        account_fixture.members.remove(team, owner.id, OPERATOR)
    heir = account_fixture.create_user((team, Role.OWNER))
    account_fixture.members.remove(team, owner.id, OPERATOR)
    assert list(account_fixture.members_by_id(team)) == [heir.id]


def test_an_owner_who_is_disabled_is_not_one_who_can_act(account_fixture: AccountFixture) -> None:
    team = account_fixture.create_team()
    ann, bob = (account_fixture.create_user((team, Role.OWNER)) for _ in range(2))
    account_fixture.users.disable(bob)
    with pytest.raises(BadRequest, match="last owner"):
        account_fixture.members.remove(team, ann.id, OPERATOR)
    with pytest.raises(BadRequest, match="last owner"):
        account_fixture.members.change(team, ann.id, OPERATOR, role=Role.MEMBER)
    account_fixture.members.remove(team, bob.id, OPERATOR)
    assert account_fixture.roles(team) == [Role.OWNER]


def test_the_last_owner_may_be_called_an_owner_again_and_lose_the_cache(
    account_fixture: AccountFixture,
) -> None:
    team = account_fixture.create_team()
    owner = account_fixture.create_user((team, Role.OWNER))
    account_fixture.members.change(team, owner.id, OPERATOR, role=Role.OWNER)
    account_fixture.members.change(team, owner.id, OPERATOR, remote_caching=False)
    member = account_fixture.members_by_id(team)[owner.id]
    assert (member.role, member.remote_caching) == (Role.OWNER, False)


def test_a_team_without_owners_may_lose_everybody(account_fixture: AccountFixture) -> None:
    team = account_fixture.create_team()
    user = account_fixture.create_user((team, Role.BILLING))
    account_fixture.members.remove(team, user.id, OPERATOR)
    assert account_fixture.members_by_id(team) == {}


@pytest.mark.parametrize("attempt", range(5))
def test_two_owners_demoted_at_once_leave_one_owner(
    account_fixture: AccountFixture, attempt: int
) -> None:
    team = account_fixture.create_team()
    owners = [account_fixture.create_user((team, Role.OWNER)) for _ in range(2)]
    refusals = run_concurrently(*(demote(account_fixture, team, owner) for owner in owners))
    assert sum(refusal is not None for refusal in refusals) == 1, attempt
    assert account_fixture.roles(team) == [Role.OWNER, Role.VIEWER]


@pytest.mark.parametrize("attempt", range(5))
def test_an_owner_demoted_and_the_other_gone_at_once_leave_one_owner(
    account_fixture: AccountFixture, attempt: int
) -> None:
    team = account_fixture.create_team()
    ann, bob = (account_fixture.create_user((team, Role.OWNER)) for _ in range(2))
    run_concurrently(
        demote(account_fixture, team, ann),
        lambda: account_fixture.members.remove(team, bob.id, OPERATOR),
    )
    assert account_fixture.roles(team).count(Role.OWNER) == 1, attempt


def test_the_last_two_owners_removed_by_two_processes_leave_one(
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


def test_who_leaves_loses_the_tokens_for_this_team_and_keeps_the_others(
    account_fixture: AccountFixture,
) -> None:
    ours, theirs = account_fixture.create_team(), account_fixture.create_team()
    user = account_fixture.create_user((ours, Role.MEMBER), (theirs, Role.MEMBER))
    confined, _ = account_fixture.create_token(ours, user)
    elsewhere, everywhere = (
        account_fixture.create_token(theirs, user),
        account_fixture.create_token(None, user),
    )
    of_team, _ = account_fixture.create_token(ours)
    account_fixture.members.remove(ours, user.id, ANN)
    state = {t.id: t.revoked_at_ms for t in account_fixture.tokens.all()}
    assert state[confined.id] == account_fixture.manual_clock.value_ms
    assert state[elsewhere[0].id] is state[everywhere[0].id] is state[of_team.id] is None
    account_fixture.authorizer.authorize(
        bearer(everywhere[1]), f"slug={theirs.slug}".encode(), Permission.READ
    )
    with pytest.raises(Forbidden):
        account_fixture.authorizer.authorize(
            bearer(everywhere[1]), f"slug={ours.slug}".encode(), Permission.READ
        )


def test_who_comes_back_does_not_get_the_old_tokens_back(account_fixture: AccountFixture) -> None:
    team = account_fixture.create_team()
    user = account_fixture.create_user((team, Role.MEMBER))
    old, _ = account_fixture.create_token(team, user)
    account_fixture.members.remove(team, user.id, OPERATOR)
    account_fixture.members.add(team, user, Role.OWNER, OPERATOR)
    assert account_fixture.tokens.get(old.id).revoked_at_ms is not None


def test_a_change_counts_for_tokens_that_exist_within_five_seconds(
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


def test_every_change_is_written_down_with_what_it_was_and_is(
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
