"""Member routes: `/v1/teams/{team}/members` and `/v1/teams/{team}/leave`."""

from typing import Annotated

import msgspec
from litestar import delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Meta, UnsetType

from hitrate.auth.authorizer import Authorizer
from hitrate.auth.guards import current_auth
from hitrate.auth.models import Permission
from hitrate.errors import Forbidden, NotFound
from hitrate.http.litestar import AnyRequest, run_in_thread
from hitrate.management.schemas import MemberResponse
from hitrate.roles import Role
from hitrate.teams.members import MemberStore
from hitrate.teams.models import Team
from hitrate.teams.users import UserStore

# Documentation only: UserStore validates addresses, with a better message.
_EMAIL = Meta(extra_json_schema={"format": "email", "maxLength": 254})


class MemberListResponse(msgspec.Struct):
    """Members of a team, by email address."""

    members: list[MemberResponse]

    @classmethod
    def from_team(cls, team: Team, members: MemberStore) -> "MemberListResponse":
        return cls([MemberResponse.from_member(member) for member in members.list_for_team(team)])


class NewMember(msgspec.Struct, forbid_unknown_fields=True):
    """A user with an account on this server, by email address, and a role."""

    email: Annotated[str, _EMAIL]
    role: Role = Role.DEVELOPER


class MemberPatch(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Changes to a member. Omitted fields do not change."""

    role: Role | UnsetType = UNSET
    remote_caching: bool | UnsetType = UNSET


class LeftTeamResponse(msgspec.Struct):
    """The slug of the team that the caller has left."""

    left: str


def _find_member(members: MemberStore, team: Team, user_id: str) -> MemberResponse:
    """Raises NotFound."""
    for member in members.list_for_team(team):
        if member.user.id == user_id:
            return MemberResponse.from_member(member)
    raise NotFound(f"The team has no member with the id {user_id[:80]!a}.")


@get(
    "/v1/teams/{team:str}/members",
    operation_id="listMembers",
    tags=["members"],
    permission=Permission.TEAM,
)
@run_in_thread
def list_members(request: AnyRequest, members: NamedDependency[MemberStore]) -> MemberListResponse:
    """All members of the team."""
    return MemberListResponse.from_team(current_auth(request).team, members)


@post(
    "/v1/teams/{team:str}/members",
    operation_id="addMember",
    tags=["members"],
    permission=Permission.MEMBERS,
)
@run_in_thread
def add_member(
    request: AnyRequest,
    data: JSONBody[NewMember],
    users: NamedDependency[UserStore],
    members: NamedDependency[MemberStore],
    authorizer: NamedDependency[Authorizer],
) -> MemberResponse:
    """Add a user of this server to the team."""
    auth = current_auth(request)
    user = users.get(data.email)
    members.add(auth.team, user, data.role, auth.actor)
    authorizer.invalidate_cache()
    return _find_member(members, auth.team, user.id)


@patch(
    "/v1/teams/{team:str}/members/{user:str}",
    operation_id="changeMember",
    tags=["members"],
    permission=Permission.MEMBERS,
)
@run_in_thread
def change_member(
    request: AnyRequest,
    user: FromPath[str],
    data: JSONBody[MemberPatch],
    members: NamedDependency[MemberStore],
    authorizer: NamedDependency[Authorizer],
) -> MemberResponse:
    """Change a member's role, or Remote Caching for this member only."""
    auth = current_auth(request)
    members.change(
        auth.team,
        user,
        auth.actor,
        role=None if data.role is UNSET else data.role,
        remote_caching=None if data.remote_caching is UNSET else data.remote_caching,
    )
    authorizer.invalidate_cache()
    return _find_member(members, auth.team, user)


@delete(
    "/v1/teams/{team:str}/members/{user:str}",
    operation_id="removeMember",
    tags=["members"],
    permission=Permission.MEMBERS,
    status_code=200,
)
@run_in_thread
def remove_member(
    request: AnyRequest,
    user: FromPath[str],
    members: NamedDependency[MemberStore],
    authorizer: NamedDependency[Authorizer],
) -> MemberListResponse:
    """Remove a member from the team."""
    auth = current_auth(request)
    members.remove(auth.team, user, auth.actor)
    authorizer.invalidate_cache()
    return MemberListResponse.from_team(auth.team, members)


@post(
    "/v1/teams/{team:str}/leave",
    operation_id="leaveTeam",
    tags=["members"],
    permission=Permission.TEAM,
    status_code=200,
)
@run_in_thread
def leave_team(
    request: AnyRequest,
    members: NamedDependency[MemberStore],
    authorizer: NamedDependency[Authorizer],
) -> LeftTeamResponse:
    """Leave the team, with a user's token that has the scope admin. The last owner cannot."""
    auth = current_auth(request)
    if auth.member is None:
        raise Forbidden("Only a user can leave a team. Revoke a token of the team instead.")
    if Permission.ACCOUNT not in auth.permissions:
        raise Forbidden("Leaving a team requires a token with the scope `admin`.")
    members.remove(auth.team, auth.member.user.id, auth.actor)
    authorizer.invalidate_cache()
    return LeftTeamResponse(auth.team.slug)


HANDLERS = (list_members, add_member, change_member, remove_member, leave_team)
