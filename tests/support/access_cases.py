"""Kinds of callers, and which routes each may call according to roles and scopes."""

from collections.abc import Callable
from dataclasses import dataclass

from hitrate.auth.models import Permission, Scope
from hitrate.auth.permissions import OPERATOR_PERMISSIONS, ROLE_PERMISSIONS, scope_permissions
from hitrate.roles import Role
from tests.support.all_routes import RouteInfo

ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True)
class Caller:
    """A kind of caller.

    With a role, it is a user's token, otherwise a team's token or the operator's. `valid` is false
    for a missing or invalid token.
    """

    name: str
    role: Role | None = None
    scopes: frozenset[Scope] = frozenset()
    in_team: bool = True
    valid: bool = True
    operator: bool = False

    def __str__(self) -> str:
        return self.name


INVALID_CALLERS = [
    Caller(name, valid=False)
    for name in ("no-token", "malformed", "unknown", "expired", "revoked", "disabled-user")
]
MEMBERS = [Caller(role.value, role, ALL_SCOPES) for role in Role]
OUTSIDER = Caller("outsider", Role.OWNER, ALL_SCOPES, in_team=False)
TEAM_TOKENS = [Caller(scope.value, scopes=frozenset({scope})) for scope in Scope]
OPERATOR = Caller("operator", operator=True)
CALLERS = [*INVALID_CALLERS, OUTSIDER, *MEMBERS, *TEAM_TOKENS, OPERATOR]

Condition = Callable[[Caller], bool]

EXTRA_CONDITIONS: dict[str, tuple[str, Condition]] = {
    "leaveTeam": (
        "a user's token with the scope `admin`",
        lambda caller: caller.role is not None and Scope.ADMIN in caller.scopes,
    ),
    "revokeCurrentToken": ("a user's token", lambda caller: caller.role is not None),
    "showTeam": ("a token that is valid in the team", lambda caller: caller.in_team),
}
"""Conditions of operations beyond their permission, by operation id: text and predicate."""


def is_allowed(route: RouteInfo, caller: Caller) -> bool:
    """Return whether the route has to admit the caller."""
    if route.permission is Permission.PUBLIC:
        return True
    if not caller.valid or route.permission is Permission.SESSION:
        return False
    _, holds = EXTRA_CONDITIONS.get(route.operation, ("", lambda _: True))
    return has_permission(caller, route.permission) and holds(caller)


def has_permission(caller: Caller, permission: Permission) -> bool:
    """Return whether a caller with a valid token has a permission in the team of the route."""
    match permission:
        case Permission.PROFILE:
            return True
        case Permission.ACCOUNT:
            return caller.role is not None and Scope.ADMIN in caller.scopes
        case Permission.OPERATOR:
            return caller.operator
    if caller.operator:
        return permission in OPERATOR_PERMISSIONS
    if not caller.in_team:
        return False
    granted = scope_permissions(caller.scopes)
    return permission in (
        granted if caller.role is None else granted & ROLE_PERMISSIONS[caller.role]
    )
