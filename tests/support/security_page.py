"""Prints docs/security.md from the routes, the tables of roles and scopes, and the table of errors.

.venv/bin/python -m tests.web.security > docs/security.md
"""

import sys
from collections.abc import Iterable, Sequence

from hitrate.auth.authorizer import CACHE_TTL_MS
from hitrate.auth.models import Permission, Scope
from hitrate.auth.permissions import OPERATOR_PERMISSIONS, ROLE_PERMISSIONS, scope_permissions
from hitrate.http.errors import INTERNAL, STATUS_BY_ERROR
from hitrate.roles import Role
from tests.support.access_cases import FURTHER
from tests.support.all_routes import Row, all_routes

RENEW = ".venv/bin/python -m tests.web.security > docs/security.md"

HEAD = """\
# Security

Who may call what, and how secrets are kept. The tables are printed from the code, and a test holds
this page to it; to renew it: `{renew}`.

## How a request is judged

In this order; the first that holds is the answer.

1. **401** `unauthorized`: no token, or one that is malformed, unknown, expired or revoked, or whose
   person is disabled.
2. **403** `forbidden`: the team that was named is unknown, or not one that the token may be used in
   (both have the same answer); or role and scopes do not give the permission.
3. **402** `payment_required`: the team is blocked, or a payment is missing.
4. **403** `remote_caching_disabled`: for the team, or for this person in it.
5. **403** `remote_caching_paused`: the spend cap is reached.
6. **403** `remote_caching_over_limit`: a usage limit of the billing cycle is reached.
7. **429** `rate_limited`: the team made its requests of a minute; `Retry-After` says
   when to go on.

From 3 on this concerns `/v8/artifacts` alone: managing a team works in every state, and
`GET /v8/artifacts/status` answers in all of them. A refused request changes nothing and is not
metered. A request that was let in is finished: a limit counts from the next one on.
"""

ACCESSES = """\
A person's token lets through what both its scopes and their role in the team give; a team's own
token has scopes alone.
"""

OWN = """\
`profile` is about the token itself: whom it stands for, and in which teams. `account` is about the
person whose token it is, and takes a person's. `session` takes no token but somebody who signed in
to the pages, whose forms carry a secret of the session. A team's pages then show and change what
the person's role gives, by the same table.
"""

LIMITS = """\
`softBlocked` and `paymentMissing` of a team's billing take the operator. Nobody makes or rotates a
token that could do more than they can. `/login/sso` is there where a provider is set up.
"""

PROSE = """\
## Secrets

- **Tokens** are 190 random bits, with the prefix `hr_` and a checksum by which secret scanners find
  one that leaked, and a mistyped one is refused without a look at the database. A token is shown
  once. What is kept is its SHA-256, which is enough: so many bits cannot be guessed. It is looked
  up by that hash, and the hashes are compared in constant time. No token is ever logged.
- **Revoking**: what was looked up is remembered for {remember} seconds. So what a command revokes,
  demotes or disables counts within 5 seconds in a running server; what the API changes, at once.
- **Passwords** are kept as argon2id. To check one for an address that nobody has takes as long as
  for any other.
- **The operator** is whoever can read the data folder; a token of theirs is made there.

## Walls

- **Teams are walls.** What a request reads or changes is its auth's team's. Another team and one
  that does not exist are refused in the same words.
- **The audit log** has every change of people, members, tokens, settings and billing, written in
  the transaction of the change. A trigger of the database refuses to change or remove an entry.
- **Guesses are slowed.** Who sends hundreds of bad tokens waits up to a second for each further
  answer. After five wrong passwords an address has to wait before the next try, longer each time.
"""


def printed() -> str:
    """The whole page."""
    rows = sorted(all_routes(single_sign_on=True), key=lambda row: (row.path, row.method))
    permissions = ("permission", *Role, *(f"`{scope}`" for scope in Scope), "operator")
    return (
        "\n".join(
            [
                HEAD.format(renew=RENEW),
                "## Roles and scopes\n",
                ACCESSES,
                _table(permissions, _accesses()),
                OWN,
                "## Routes\n",
                _table(("", "", "permission", "roles", "scopes of a token"), map(_route, rows)),
                LIMITS,
                "## Refusals\n",
                _table(("status", "`code`", ""), _errors()),
                PROSE.format(remember=CACHE_TTL_MS // 1000),
            ]
        ).rstrip("\n")
        + "\n"
    )


def _accesses() -> Iterable[Sequence[str]]:
    for access in Permission:
        if access not in (Permission.PUBLIC, Permission.OPERATOR, Permission.SESSION):
            roles = [access in ROLE_PERMISSIONS[role] for role in Role]
            scopes = [access in scope_permissions({scope}) for scope in Scope]
            has = [*roles, *scopes, access in OPERATOR_PERMISSIONS]
            yield (f"`{access.value}`", *("yes" if one else "" for one in has))


def _route(row: Row) -> Sequence[str]:
    roles, scopes = _who(row.permission)
    further, _ = FURTHER.get(row.operation, ("", None))
    roles = f"{roles}: {further}" if further else roles
    return row.method, f"`{row.path}`", f"`{row.permission.value}`", roles, scopes


def _who(access: Permission) -> tuple[str, str]:
    """The roles and the scopes that have it."""
    match access:
        case Permission.PUBLIC:
            return "anybody", ""
        case Permission.PROFILE:
            return "any valid token", "any"
        case Permission.SESSION:
            return "who signed in", ""
        case Permission.OPERATOR:
            return "the operator", ""
    roles = [role.value for role in Role if access in ROLE_PERMISSIONS[role]]
    scopes = [f"`{scope}`" for scope in Scope if access in scope_permissions({scope})]
    everybody = "every role" if len(roles) == len(Role) else ", ".join(roles)
    return everybody, ", ".join(scopes)


def _errors() -> Iterable[Sequence[str]]:
    for kind, (status, code) in STATUS_BY_ERROR.items():
        sentence, _, _ = (kind.__doc__ or "").partition(". ")
        yield str(status), f"`{code}`", sentence.partition("; `")[0].rstrip(".")
    yield str(INTERNAL[0]), f"`{INTERNAL[1]}`", "Something went wrong in the server"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(printed())
