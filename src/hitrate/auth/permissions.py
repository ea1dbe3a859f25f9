"""The permissions of each role and of each token scope. Pure."""

from collections.abc import Iterable

from hitrate.auth.models import Permission, Scope
from hitrate.roles import Role

_P = Permission

_USE_CACHE = {_P.STATUS, _P.READ, _P.WRITE, _P.EVENTS}
_READ_CACHE = {_P.STATUS, _P.READ, _P.EVENTS, _P.ANALYTICS}

ROLE_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.OWNER: frozenset(_P) - {_P.PUBLIC, _P.SESSION, _P.OPERATOR},
    Role.MEMBER: frozenset({*_USE_CACHE, _P.ANALYTICS, _P.USAGE, _P.TEAM, _P.PROFILE, _P.ACCOUNT}),
    Role.DEVELOPER: frozenset({*_USE_CACHE, _P.ANALYTICS, _P.TEAM, _P.PROFILE, _P.ACCOUNT}),
    Role.VIEWER: frozenset({*_READ_CACHE, _P.USAGE, _P.TEAM, _P.PROFILE, _P.ACCOUNT}),
    Role.BILLING: frozenset({_P.USAGE, _P.BILLING, _P.TEAM, _P.PROFILE, _P.ACCOUNT}),
}

SCOPE_PERMISSIONS: dict[Scope, frozenset[Permission]] = {
    Scope.READ: frozenset({_P.STATUS, _P.READ, _P.TEAM}),
    Scope.WRITE: frozenset({_P.STATUS, _P.WRITE, _P.TEAM}),
    Scope.EVENTS: frozenset({_P.STATUS, _P.EVENTS, _P.TEAM}),
    Scope.ANALYTICS: frozenset({_P.ANALYTICS, _P.USAGE, _P.TEAM}),
    Scope.ADMIN: frozenset(
        {_P.TEAM, _P.USAGE, _P.TOKENS, _P.MEMBERS, _P.SETTINGS, _P.BILLING, _P.AUDIT, _P.ACCOUNT}
    ),
}

READ_ONLY = frozenset({Scope.READ, Scope.EVENTS, Scope.ANALYTICS})
READ_WRITE = READ_ONLY | {Scope.WRITE}
"""Default scopes of a new token: use the cache, but do not manage the team."""

OPERATOR_PERMISSIONS = frozenset(_P) - {_P.ACCOUNT, _P.SESSION}


def scope_permissions(scopes: Iterable[Scope]) -> frozenset[Permission]:
    """Return the permissions of a token with these scopes. PROFILE is always one of them."""
    return frozenset({_P.PROFILE}).union(*(SCOPE_PERMISSIONS[scope] for scope in scopes))


def apparent_role(scopes: frozenset[Scope]) -> Role:
    """Return the role that is closest to the scopes of a team's token.

    `turbo` expects a role for each team, but a team's token has none.
    """
    if Scope.ADMIN in scopes:
        return Role.OWNER
    return Role.DEVELOPER if Scope.WRITE in scopes else Role.VIEWER
