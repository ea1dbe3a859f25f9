"""THE table: which role may do what, and what of it each scope of a token lets through. Pure."""

from collections.abc import Iterable

from hitrate.auth.models import Permission, Scope
from hitrate.roles import Role

_A = Permission

_CACHE = {_A.STATUS, _A.READ, _A.WRITE, _A.EVENTS}
_WATCH = {_A.STATUS, _A.READ, _A.EVENTS, _A.ANALYTICS}

ROLES: dict[Role, frozenset[Permission]] = {
    Role.OWNER: frozenset(_A) - {_A.PUBLIC, _A.SESSION, _A.OPERATOR},
    Role.MEMBER: frozenset({*_CACHE, _A.ANALYTICS, _A.USAGE, _A.TEAM, _A.PROFILE, _A.ACCOUNT}),
    Role.DEVELOPER: frozenset({*_CACHE, _A.ANALYTICS, _A.TEAM, _A.PROFILE, _A.ACCOUNT}),
    Role.VIEWER: frozenset({*_WATCH, _A.USAGE, _A.TEAM, _A.PROFILE, _A.ACCOUNT}),
    Role.BILLING: frozenset({_A.USAGE, _A.BILLING, _A.TEAM, _A.PROFILE, _A.ACCOUNT}),
}

SCOPES: dict[Scope, frozenset[Permission]] = {
    Scope.READ: frozenset({_A.STATUS, _A.READ, _A.TEAM}),
    Scope.WRITE: frozenset({_A.STATUS, _A.WRITE, _A.TEAM}),
    Scope.EVENTS: frozenset({_A.STATUS, _A.EVENTS, _A.TEAM}),
    Scope.ANALYTICS: frozenset({_A.ANALYTICS, _A.USAGE, _A.TEAM}),
    Scope.ADMIN: frozenset(
        {_A.TEAM, _A.USAGE, _A.TOKENS, _A.MEMBERS, _A.SETTINGS, _A.BILLING, _A.AUDIT, _A.ACCOUNT}
    ),
}

READ_ONLY = frozenset({Scope.READ, Scope.EVENTS, Scope.ANALYTICS})
READ_WRITE = READ_ONLY | {Scope.WRITE}
"""What a token may do unless it is asked for otherwise: use the cache, not manage the team."""

OPERATOR_PERMISSIONS = frozenset(_A) - {_A.ACCOUNT, _A.SESSION}


def scope_permissions(scopes: Iterable[Scope]) -> frozenset[Permission]:
    """What a token with these scopes lets through; itself it may always look at."""
    return frozenset({_A.PROFILE}).union(*(SCOPES[scope] for scope in scopes))


def apparent_role(scopes: frozenset[Scope]) -> Role:
    """The role that comes nearest to a team's token, for clients that want to see one."""
    if Scope.ADMIN in scopes:
        return Role.OWNER
    return Role.DEVELOPER if Scope.WRITE in scopes else Role.VIEWER
