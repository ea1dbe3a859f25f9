"""Who is in a team: added, changed and removed; and the last owner, who stays."""

from collections.abc import Callable

import pytest

from hitrate.auth.models import Permission, Scope
from hitrate.errors import BadRequest, Forbidden, NotFound
from hitrate.teams.models import OPERATOR, Actor, Role, Team, User
from tests.support.account_fixture import Town, at_once, bearer

ANN = Actor("user", "usr_ann", "ann@example.com")


def demote(town: Town, team: Team, user: User) -> Callable[[], None]:
    """To be done later."""
    members = town.accounts.members
    return lambda: members.change(team, user.id, OPERATOR, role=Role.VIEWER)


def add(town: Town, team: Team, user: User, role: Role) -> Callable[[], None]:
    """To be done later."""
    return lambda: town.accounts.members.add(team, user, role, OPERATOR)


def test_a_person_is_in_a_team_once_with_one_role(town: Town) -> None:
    team = town.team()
    user = town.person((team, Role.DEVELOPER))
    with pytest.raises(BadRequest, match="already"):
        town.accounts.members.add(team, user, Role.OWNER, OPERATOR)
    assert town.roles(team) == [Role.DEVELOPER]


def test_added_twice_at_once_they_are_in_it_once(town: Town) -> None:
    team, user = town.team(), town.person()
    roles = (Role.VIEWER, Role.OWNER, Role.MEMBER)
    outcomes = at_once(*(add(town, team, user, role) for role in roles))
    refusals = [refusal for refusal in outcomes if refusal]
    assert len(refusals) == 2
    assert len(town.members(team)) == 1


def test_teams_are_listed_by_slug_and_members_by_address(town: Town) -> None:
    teams = [town.team(slug) for slug in ("b", "a")]
    cid = town.person(*((team, Role.MEMBER) for team in teams), email="cid@example.com")
    town.person((teams[0], Role.VIEWER), email="bob@example.com")
    assert [m.team.slug for m in town.accounts.members.of_user(cid)] == ["a", "b"]
    assert [m.user.email for m in town.accounts.members.of_team(teams[0])] == [
        "bob@example.com",
        "cid@example.com",
    ]


@pytest.mark.parametrize("user_id", ["usr_nobody", "", "' OR 1=1 --", "usr_\0"])
def test_who_is_not_in_the_team_is_neither_changed_nor_removed(town: Town, user_id: str) -> None:
    team = town.team()
    town.person((team, Role.OWNER))
    with pytest.raises(NotFound):
        town.accounts.members.change(team, user_id, OPERATOR, role=Role.OWNER)
    with pytest.raises(NotFound):
        town.accounts.members.remove(team, user_id, OPERATOR)


def test_a_member_of_another_team_is_not_in_this_one(town: Town) -> None:
    ours, theirs = town.team(), town.team()
    stranger = town.person((theirs, Role.OWNER), (theirs_too := town.team(), Role.OWNER))
    with pytest.raises(NotFound):
        town.accounts.members.remove(ours, stranger.id, OPERATOR)
    assert town.roles(theirs) == town.roles(theirs_too) == [Role.OWNER]


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.OWNER}))
def test_the_last_owner_is_not_demoted(town: Town, role: Role) -> None:
    team = town.team()
    owner = town.person((team, Role.OWNER))
    town.person((team, Role.MEMBER))
    with pytest.raises(BadRequest, match="last owner"):
        town.accounts.members.change(team, owner.id, OPERATOR, role=role)
    assert town.members(team)[owner.id].role is Role.OWNER


def test_the_last_owner_does_not_leave(town: Town) -> None:
    team = town.team()
    owner = town.person((team, Role.OWNER))
    with pytest.raises(BadRequest, match="make somebody else an OWNER first"):
        town.accounts.members.remove(team, owner.id, OPERATOR)
    heir = town.person((team, Role.OWNER))
    town.accounts.members.remove(team, owner.id, OPERATOR)
    assert list(town.members(team)) == [heir.id]


def test_an_owner_who_is_disabled_is_not_one_who_can_act(town: Town) -> None:
    team = town.team()
    ann, bob = (town.person((team, Role.OWNER)) for _ in range(2))
    town.accounts.users.disable(bob)
    with pytest.raises(BadRequest, match="last owner"):
        town.accounts.members.remove(team, ann.id, OPERATOR)
    with pytest.raises(BadRequest, match="last owner"):
        town.accounts.members.change(team, ann.id, OPERATOR, role=Role.MEMBER)
    town.accounts.members.remove(team, bob.id, OPERATOR)
    assert town.roles(team) == [Role.OWNER]


def test_the_last_owner_may_be_called_an_owner_again_and_lose_the_cache(town: Town) -> None:
    team = town.team()
    owner = town.person((team, Role.OWNER))
    town.accounts.members.change(team, owner.id, OPERATOR, role=Role.OWNER)
    town.accounts.members.change(team, owner.id, OPERATOR, remote_caching=False)
    member = town.members(team)[owner.id]
    assert (member.role, member.remote_caching) == (Role.OWNER, False)


def test_a_team_without_owners_may_lose_everybody(town: Town) -> None:
    team = town.team()
    user = town.person((team, Role.BILLING))
    town.accounts.members.remove(team, user.id, OPERATOR)
    assert town.members(team) == {}


@pytest.mark.parametrize("attempt", range(5))
def test_two_owners_demoted_at_once_leave_one_owner(town: Town, attempt: int) -> None:
    team = town.team()
    owners = [town.person((team, Role.OWNER)) for _ in range(2)]
    refusals = at_once(*(demote(town, team, owner) for owner in owners))
    assert sum(refusal is not None for refusal in refusals) == 1, attempt
    assert town.roles(team) == [Role.OWNER, Role.VIEWER]


@pytest.mark.parametrize("attempt", range(5))
def test_an_owner_demoted_and_the_other_gone_at_once_leave_one_owner(
    town: Town, attempt: int
) -> None:
    team = town.team()
    ann, bob = (town.person((team, Role.OWNER)) for _ in range(2))
    at_once(
        demote(town, team, ann),
        lambda: town.accounts.members.remove(team, bob.id, OPERATOR),
    )
    assert town.roles(team).count(Role.OWNER) == 1, attempt


def test_the_last_two_owners_removed_by_two_processes_leave_one(town: Town) -> None:
    team = town.team()
    ann, bob = (town.person((team, Role.OWNER)) for _ in range(2))
    other = Town(town.folder)
    at_once(
        lambda: town.accounts.members.remove(team, ann.id, OPERATOR),
        lambda: other.accounts.members.remove(team, bob.id, OPERATOR),
    )
    other.close()
    assert town.roles(team) == [Role.OWNER]


def test_who_leaves_loses_the_tokens_for_this_team_and_keeps_the_others(town: Town) -> None:
    ours, theirs = town.team(), town.team()
    user = town.person((ours, Role.MEMBER), (theirs, Role.MEMBER))
    confined, _ = town.token(ours, user)
    elsewhere, everywhere = town.token(theirs, user), town.token(None, user)
    of_team, _ = town.token(ours)
    town.accounts.members.remove(ours, user.id, ANN)
    state = {t.id: t.revoked_at_ms for t in town.accounts.tokens.all()}
    assert state[confined.id] == town.time.value_ms
    assert state[elsewhere[0].id] is state[everywhere[0].id] is state[of_team.id] is None
    town.gate.admit(bearer(everywhere[1]), f"slug={theirs.slug}".encode(), Permission.READ)
    with pytest.raises(Forbidden):
        town.gate.admit(bearer(everywhere[1]), f"slug={ours.slug}".encode(), Permission.READ)


def test_who_comes_back_does_not_get_the_old_tokens_back(town: Town) -> None:
    team = town.team()
    user = town.person((team, Role.MEMBER))
    old, _ = town.token(team, user)
    town.accounts.members.remove(team, user.id, OPERATOR)
    town.accounts.members.add(team, user, Role.OWNER, OPERATOR)
    assert town.accounts.tokens.get(old.id).revoked_at_ms is not None


def test_a_change_counts_for_tokens_that_exist_within_five_seconds(town: Town) -> None:
    team = town.team()
    town.person((team, Role.OWNER))
    user = town.person((team, Role.OWNER))
    _, secret = town.token(None, user, Scope)
    town.gate.admit(bearer(secret), b"", Permission.MEMBERS)
    town.accounts.members.change(team, user.id, OPERATOR, role=Role.DEVELOPER)
    town.time.advance(5)
    town.gate.admit(bearer(secret), b"", Permission.WRITE)
    with pytest.raises(Forbidden, match="the role DEVELOPER in the team"):
        town.gate.admit(bearer(secret), b"", Permission.MEMBERS)


def test_every_change_is_written_down_with_what_it_was_and_is(town: Town) -> None:
    team = town.team()
    user = town.person((team, Role.MEMBER))
    token, _ = town.token(team, user)
    town.accounts.members.change(team, user.id, ANN, role=Role.VIEWER, remote_caching=False)
    town.accounts.members.change(team, user.id, ANN, role=Role.VIEWER)  # changes nothing
    town.accounts.members.remove(team, user.id, ANN)
    removed, changed, *_ = town.accounts.audit.page(team.id, 10)
    assert [entry.action for entry in (changed, removed)] == ["member.change", "member.remove"]
    assert (changed.actor_name, changed.target) == ("ann@example.com", user.email)
    assert changed.details == {
        "before": {"role": "MEMBER", "remoteCaching": True},
        "after": {"role": "VIEWER", "remoteCaching": False},
    }
    assert removed.details == {"role": "VIEWER", "revokedTokens": [token.id]}
