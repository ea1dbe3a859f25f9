"""Who is in a team: `/v1/teams/{team}/members`."""

from typing import Annotated

import msgspec
from litestar import delete, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Meta, UnsetType

from hitrate.auth.guards import current_auth
from hitrate.auth.models import AuthContext, Permission
from hitrate.errors import Forbidden, NotFound
from hitrate.management.schemas import MemberInfo, member_info
from hitrate.management.services import AccountServices
from hitrate.management.settings import AnyRequest
from hitrate.roles import Role

# Said in the documentation; checked by `users`, whose message says more.
_EMAIL = Meta(extra_json_schema={"format": "email", "maxLength": 254})


class Members(msgspec.Struct):
    """By address."""

    members: list[MemberInfo]


class NewMember(msgspec.Struct, forbid_unknown_fields=True):
    """A person who has an account here, by their address."""

    email: Annotated[str, _EMAIL]
    role: Role = Role.DEVELOPER


class MemberPatch(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What is to be changed; the rest stays."""

    role: Role | UnsetType = UNSET
    remote_caching: bool | UnsetType = UNSET


class Left(msgspec.Struct):
    """The team that is no longer yours."""

    left: str


def member_api(office: AccountServices) -> list[HTTPRouteHandler]:
    """The routes of this file."""
    store = office.accounts.members

    def one(auth: AuthContext, user_id: str) -> MemberInfo:
        found = [m for m in store.list_for_team(auth.team) if m.user.id == user_id]
        if not found:
            raise NotFound(f"Nobody with the id {user_id[:80]!a} is in this team.")
        return member_info(found[0])

    @get(
        "/v1/teams/{team:str}/members",
        operation_id="listMembers",
        tags=["members"],
        guards=[office.needs(Permission.TEAM)],
        sync_to_thread=True,
    )
    def members(request: AnyRequest) -> Members:
        """Everybody in the team."""
        return Members([member_info(m) for m in store.list_for_team(current_auth(request).team)])

    @post(
        "/v1/teams/{team:str}/members",
        operation_id="addMember",
        tags=["members"],
        guards=[office.needs(Permission.MEMBERS)],
        sync_to_thread=True,
    )
    def add(request: AnyRequest, data: JSONBody[NewMember]) -> MemberInfo:
        """Let a person who has an account into the team."""
        auth = current_auth(request)
        user = office.accounts.users.get(data.email)
        store.add(auth.team, user, data.role, auth.actor)
        office.authorizer.invalidate_cache()
        return one(auth, user.id)

    @patch(
        "/v1/teams/{team:str}/members/{user:str}",
        operation_id="changeMember",
        tags=["members"],
        guards=[office.needs(Permission.MEMBERS)],
        sync_to_thread=True,
    )
    def change(request: AnyRequest, user: FromPath[str], data: JSONBody[MemberPatch]) -> MemberInfo:
        """Change a person's role, or Remote Caching for them alone."""
        auth = current_auth(request)
        store.change(
            auth.team,
            user,
            auth.actor,
            role=None if data.role is UNSET else data.role,
            remote_caching=None if data.remote_caching is UNSET else data.remote_caching,
        )
        office.authorizer.invalidate_cache()
        return one(auth, user)

    @delete(
        "/v1/teams/{team:str}/members/{user:str}",
        operation_id="removeMember",
        tags=["members"],
        guards=[office.needs(Permission.MEMBERS)],
        status_code=200,
        sync_to_thread=True,
    )
    def remove(request: AnyRequest, user: FromPath[str]) -> Members:
        """Take a person out of the team."""
        auth = current_auth(request)
        store.remove(auth.team, user, auth.actor)
        office.authorizer.invalidate_cache()
        return Members([member_info(m) for m in store.list_for_team(auth.team)])

    @post(
        "/v1/teams/{team:str}/leave",
        operation_id="leaveTeam",
        tags=["members"],
        guards=[office.needs(Permission.TEAM)],
        status_code=200,
        sync_to_thread=True,
    )
    def leave(request: AnyRequest) -> Left:
        """Leave the team; the last owner cannot. Takes a person's token with the scope admin."""
        auth = current_auth(request)
        if auth.member is None:
            raise Forbidden("Only a person can leave a team; a token is revoked instead.")
        if Permission.ACCOUNT not in auth.permissions:
            raise Forbidden("Leaving a team takes a token with the scope `admin`.")
        store.remove(auth.team, auth.member.user.id, auth.actor)
        office.authorizer.invalidate_cache()
        return Left(auth.team.slug)

    return [members, add, change, remove, leave]
