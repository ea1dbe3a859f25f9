"""Who is let in where, by the tables of roles and scopes: what is walked, and what is printed."""

from collections.abc import Callable
from dataclasses import dataclass

from hitrate.auth.models import Permission, Scope
from hitrate.auth.permissions import OPERATOR_PERMISSIONS, ROLE_PERMISSIONS, scope_permissions
from hitrate.roles import Role
from tests.support.all_routes import Row

ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True)
class Caller:
    """A kind of caller. One with a role is a person; one without is a token of the team's own, or
    the operator's. `valid` is False where there is no token, or none that counts."""

    name: str
    role: Role | None = None
    scopes: frozenset[Scope] = frozenset()
    in_team: bool = True
    valid: bool = True
    operator: bool = False

    def __str__(self) -> str:
        return self.name


NOBODIES = [
    Caller(name, valid=False)
    for name in ("nobody", "malformed", "unknown", "expired", "revoked", "disabled")
]
PEOPLE = [Caller(role.value, role, ALL_SCOPES) for role in Role]
STRANGER = Caller("stranger", Role.OWNER, ALL_SCOPES, in_team=False)
TEAM_TOKENS = [Caller(scope.value, scopes=frozenset({scope})) for scope in Scope]
OPERATOR = Caller("operator", operator=True)
CALLERS = [*NOBODIES, STRANGER, *PEOPLE, *TEAM_TOKENS, OPERATOR]

Condition = Callable[[Caller], bool]

FURTHER: dict[str, tuple[str, Condition]] = {
    "leaveTeam": (
        "a person's token with the scope `admin`",
        lambda caller: caller.role is not None and Scope.ADMIN in caller.scopes,
    ),
    "revokeCurrentToken": ("a person's token", lambda caller: caller.role is not None),
    "showTeam": ("a token that may be used in the team", lambda caller: caller.in_team),
}
"""What some operations ask for beyond their access, as they act on who calls."""


def lets_in(row: Row, caller: Caller) -> bool:
    """Whether a route has to admit a caller."""
    if row.permission is Permission.PUBLIC:
        return True
    if not caller.valid or row.permission is Permission.SESSION:
        return False
    _, holds = FURTHER.get(row.operation, ("", lambda _: True))
    return has(caller, row.permission) and holds(caller)


def has(caller: Caller, access: Permission) -> bool:
    """Whether a caller with a valid token has an access, in the team that a route is about."""
    match access:
        case Permission.PROFILE:
            return True
        case Permission.ACCOUNT:
            return caller.role is not None and Scope.ADMIN in caller.scopes
        case Permission.OPERATOR:
            return caller.operator
    if caller.operator:
        return access in OPERATOR_PERMISSIONS
    if not caller.in_team:
        return False
    may = scope_permissions(caller.scopes)
    return access in (may if caller.role is None else may & ROLE_PERMISSIONS[caller.role])
