"""Generator of docs/security.md: routes, roles, scopes and errors are printed from the code.

Run `.venv/bin/python -m tests.support.security_page > docs/security.md`.
"""

import sys
from collections.abc import Iterable, Sequence

from hitrate.auth.authorizer import CACHE_TTL_MS
from hitrate.auth.models import Permission, Scope
from hitrate.auth.permissions import OPERATOR_PERMISSIONS, ROLE_PERMISSIONS, scope_permissions
from hitrate.http.errors import INTERNAL, STATUS_BY_ERROR
from hitrate.roles import Role
from tests.support.access_cases import EXTRA_CONDITIONS
from tests.support.all_routes import RouteInfo, all_routes

COMMAND = ".venv/bin/python -m tests.support.security_page > docs/security.md"

INTRODUCTION = """\
# Security

Who may call what, and how secrets are protected. The tables are generated from the code, and a
test compares this page with it. To regenerate it:

```sh
{command}
```

## How a request is authorized

The checks run in this order. The first that fails determines the response.

1. **401** `unauthorized`: the token is missing, malformed, unknown, expired or revoked, or its
   user is disabled.
2. **403** `forbidden`: the team of the request does not exist, or the token is not valid in it
   (both get the same response), or role and scopes do not grant the permission.
3. **402** `payment_required`: the team is blocked, or a payment is missing.
4. **403** `remote_caching_disabled`: for the team, or for this user in the team.
5. **403** `remote_caching_paused`: the spend cap is reached.
6. **403** `remote_caching_over_limit`: a limit of the billing cycle is reached.
7. **429** `rate_limited`: the team has reached its requests per minute. `Retry-After` states when
   to retry.

Checks 3 to 7 apply to `/v8/artifacts` only, except `GET /v8/artifacts/status`: management routes
work in every team state. A rejected request changes nothing and is not metered. An admitted
request always completes; a limit that it reaches applies from the next request on.
"""

PERMISSIONS_INTRODUCTION = """\
A user's token grants what both its scopes and the user's role in the team allow. A team's token
has scopes only.
"""

SPECIAL_PERMISSIONS = """\
`profile` covers the token itself: its user and its teams. `account` covers the user of the token,
so a team's token does not have it. `session` requires a signed-in browser instead of a token, and
forms also require a CSRF token of the session. On the pages of a team, the user has the
permissions of their role in the same table.
"""

ROUTE_NOTES = """\
Only the operator can change `softBlocked` and `paymentMissing` in a team's billing. Nobody can
create or rotate a token that has more permissions than they have. `/login/sso` exists only if a
provider is configured.
"""

MEASURES = """\
## Secrets

- **Tokens** are 190 random bits with the prefix `hr_` and a checksum. Secret scanners recognize a
  leaked token by the checksum, and the server rejects a mistyped one without a database query. A
  token is displayed once. Only its SHA-256 is stored, which suffices because 190 bits cannot be
  guessed. Tokens are found by this hash, and hashes are compared in constant time. Tokens are
  never logged.
- **Revocation.** The server caches authorizations for {cache_ttl_s} seconds. A revocation, role
  change or disabling by a command takes effect in a running server within 5 seconds, one by the
  API immediately.
- **Passwords** are stored as argon2id hashes. Checking a password takes the same time for an
  unknown email address as for a known one.
- **The operator** is whoever can read the data directory: the operator token is created there.

## Isolation and protection

- **Team isolation.** A request reads and changes only data of the team that it is authorized for.
  Another team and one that does not exist get the same response.
- **Audit log.** Every change of users, members, tokens, settings and billing is recorded in the
  transaction of the change. A database trigger rejects changing or deleting an entry.
- **Guessing.** An address that sends hundreds of invalid tokens waits up to a second for each
  further response. After five wrong passwords, an address has to wait before the next attempt,
  longer each time.
"""


def render_page() -> str:
    """Return the whole page as Markdown."""
    routes = all_routes(single_sign_on=True)
    columns = ("permission", *Role, *(f"`{scope}`" for scope in Scope), "operator")
    return (
        "\n".join(
            [
                INTRODUCTION.format(command=COMMAND),
                "## Roles and scopes\n",
                PERMISSIONS_INTRODUCTION,
                _table(columns, _permission_rows()),
                SPECIAL_PERMISSIONS,
                "## Routes\n",
                _table(
                    ("method", "path", "permission", "roles", "token scopes"),
                    map(_route_row, routes),
                ),
                ROUTE_NOTES,
                "## Errors\n",
                _table(("status", "`code`", "meaning"), _error_rows()),
                MEASURES.format(cache_ttl_s=CACHE_TTL_MS // 1000),
            ]
        ).rstrip("\n")
        + "\n"
    )


def _permission_rows() -> Iterable[Sequence[str]]:
    for permission in Permission:
        if permission not in (Permission.PUBLIC, Permission.OPERATOR, Permission.SESSION):
            roles = [permission in ROLE_PERMISSIONS[role] for role in Role]
            scopes = [permission in scope_permissions({scope}) for scope in Scope]
            granted = [*roles, *scopes, permission in OPERATOR_PERMISSIONS]
            yield (f"`{permission.value}`", *("yes" if one else "" for one in granted))


def _route_row(route: RouteInfo) -> Sequence[str]:
    roles, scopes = _granted_by(route.permission)
    condition, _ = EXTRA_CONDITIONS.get(route.operation, ("", None))
    roles = f"{roles}: {condition}" if condition else roles
    return route.method, f"`{route.path}`", f"`{route.permission.value}`", roles, scopes


def _granted_by(permission: Permission) -> tuple[str, str]:
    """Return the roles and the scopes that grant a permission, as text."""
    match permission:
        case Permission.PUBLIC:
            return "anyone", ""
        case Permission.PROFILE:
            return "any valid token", "any"
        case Permission.SESSION:
            return "signed-in users", ""
        case Permission.OPERATOR:
            return "the operator", ""
    roles = [role.value for role in Role if permission in ROLE_PERMISSIONS[role]]
    scopes = [f"`{scope}`" for scope in Scope if permission in scope_permissions({scope})]
    return "every role" if len(roles) == len(Role) else ", ".join(roles), ", ".join(scopes)


def _error_rows() -> Iterable[Sequence[str]]:
    for error, (status, code) in STATUS_BY_ERROR.items():
        sentence, _, _ = (error.__doc__ or "").partition(". ")
        yield str(status), f"`{code}`", sentence.partition("; `")[0].rstrip(".")
    yield str(INTERNAL[0]), f"`{INTERNAL[1]}`", "An unexpected error, which the log describes"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render_page())
