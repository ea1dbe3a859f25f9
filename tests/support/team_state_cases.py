"""States that refuse requests: how the API and commands enter and leave each of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hitrate.auth import tokens
from hitrate.teams.settings import MEASURES
from tests.support.client_operations import Outcomes, errors_of, expected_errors
from tests.support.team_fixture import WIRE_NAMES, TeamFixture

Step = Callable[[TeamFixture], object]
Steps = tuple[Step, Step]
"""A step that enters a state, and one that leaves it."""


@dataclass(frozen=True)
class StateCase:
    """A state in which requests are refused, with the HTTP status and error code.

    `cache_status` is what the operation `status` returns in it; None where `status` is refused
    like every other operation.
    """

    name: str
    status: int
    code: str
    cache_status: str | None
    api: Steps | None = None
    commands: Steps | None = None

    def __str__(self) -> str:
        return self.name

    def assert_refused(self, outcomes: Outcomes) -> None:
        """Check that all operations were refused as in this state."""
        allowed = () if self.cache_status is None else ("status",)
        assert errors_of(outcomes) == expected_errors(self.status, self.code, *allowed)
        expected = None if self.cache_status is None else {"status": self.cache_status}
        assert outcomes["status"].value == expected


def _billing(**body: Any) -> Step:
    return lambda team: team.api("PATCH", "billing", body)


def _operator_billing(**body: Any) -> Step:
    return lambda team: team.api("PATCH", "billing", body, token=team.operator_token)


def _settings(**body: Any) -> Step:
    return lambda team: team.api("PATCH", "settings", body)


def _member(**body: Any) -> Step:
    return lambda team: team.api("PATCH", f"members/{team.developer.id}", body)


def _run(line: str) -> Step:
    return lambda team: team.command(line)


def _use_token(token: str | None) -> Step:
    return lambda team: setattr(team, "token", token)


def _set_query(**query: str) -> Step:
    return lambda team: setattr(team, "team_query", team.team_query | query)


def _restore_query(team: TeamFixture) -> None:
    team.team_query = {"teamId": team.record.id, "slug": team.record.slug}


def _query_other_team(team: TeamFixture) -> None:
    other = team.accounts.teams.create(f"not-{team.record.slug}")
    team.team_query = {"teamId": other.id, "slug": other.slug}


def _use_new_own_token(**body: Any) -> Step:
    def create(team: TeamFixture) -> None:
        team.token = team.api("POST", "/v1/user/tokens", body, token=team.token or "")["token"]

    return create


def _revoke_own_token(team: TeamFixture) -> None:
    team.api("DELETE", f"/v1/user/tokens/{team.own_token.id}", token=team.token or "")


def _add_member(team: TeamFixture) -> None:
    team.api("POST", "members", {"email": team.developer.email})


_UNAUTHORIZED = (401, "unauthorized", None)
_FORBIDDEN = (403, "forbidden", None)
_replace_token: Step = TeamFixture.replace_token

NO_TOKEN = StateCase("no token", *_UNAUTHORIZED, api=(_use_token(None), _replace_token))
TOKEN_STATES = [
    NO_TOKEN,
    StateCase("a malformed token", *_UNAUTHORIZED, api=(_use_token("hr_secret"), _replace_token)),
    StateCase(
        "an unknown token",
        *_UNAUTHORIZED,
        api=(_use_token(tokens.new_secret()), _replace_token),
    ),
    StateCase(
        "an expired token", *_UNAUTHORIZED, api=(_use_new_own_token(expiresIn="0s"), _replace_token)
    ),
    StateCase(
        "a revoked token",
        *_UNAUTHORIZED,
        api=(_revoke_own_token, _replace_token),
        commands=(_run("token revoke {token}"), _replace_token),
    ),
    StateCase(
        "a token of a disabled user",
        *_UNAUTHORIZED,
        commands=(_run("user disable {email}"), _run("user enable {email}")),
    ),
]

ROLE_WITHOUT_PERMISSION = StateCase(
    "a role without the permission",
    *_FORBIDDEN,
    api=(_member(role="BILLING"), _member(role="DEVELOPER")),
    commands=(
        _run("team change {team} {email} --role BILLING"),
        _run("team change {team} {email} --role DEVELOPER"),
    ),
)
PERMISSION_STATES = [
    ROLE_WITHOUT_PERMISSION,
    StateCase("another team", *_FORBIDDEN, api=(_query_other_team, _restore_query)),
    StateCase(
        "an unknown team",
        *_FORBIDDEN,
        api=(_set_query(teamId="team_nobodys", slug="nobodys"), _restore_query),
    ),
    StateCase(
        "id and slug of two teams", *_FORBIDDEN, api=(_set_query(slug="default"), _restore_query)
    ),
    StateCase(
        "a token without the scope",
        *_FORBIDDEN,
        api=(_use_new_own_token(scopes=["analytics"]), _replace_token),
    ),
    StateCase(
        "no longer in the team",
        *_FORBIDDEN,
        api=(lambda team: team.api("DELETE", f"members/{team.developer.id}"), _add_member),
        commands=(_run("team remove {team} {email}"), _run("team add {team} {email}")),
    ),
]

SOFT_BLOCKED = StateCase(
    "soft-blocked", 402, "payment_required", "disabled",
    api=(_operator_billing(softBlocked=True), _operator_billing(softBlocked=False)),
    commands=(_run("team block {team}"), _run("team unblock {team}")),
)  # fmt: skip
PAYMENT_MISSING = StateCase(
    "payment missing", 402, "payment_required", "disabled",
    api=(_operator_billing(paymentMissing=True), _operator_billing(paymentMissing=False)),
    commands=(_run("team payment {team} missing"), _run("team payment {team} received")),
)  # fmt: skip
DISABLED = StateCase(
    "disabled for the team", 403, "remote_caching_disabled", "disabled",
    api=(_settings(remoteCaching=False), _settings(remoteCaching=True)),
    commands=(
        _run("team set {team} --remote-caching off"),
        _run("team set {team} --remote-caching on"),
    ),
)  # fmt: skip
DISABLED_FOR_USER = StateCase(
    "disabled for a user", 403, "remote_caching_disabled", "disabled",
    api=(_member(remoteCaching=False), _member(remoteCaching=True)),
    commands=(
        _run("team change {team} {email} --remote-caching off"),
        _run("team change {team} {email} --remote-caching on"),
    ),
)  # fmt: skip

# A request costs one unit of the currency, so earlier requests of the team reach the cap.
_exceed_cap = _billing(prices={"millionRequests": "1000000"}, spendCap="0.50")
_exceed_cap_by_command = _run(
    "team billing {team} --price-million-requests 1000000 --spend-cap 0.50"
)


def _paused(cap_change: str, cap: str | None) -> StateCase:
    return StateCase(
        f"paused by the spend cap, left when the cap is {cap_change}",
        403, "remote_caching_paused", "paused",
        api=(_exceed_cap, _billing(spendCap=cap)),
        commands=(_exceed_cap_by_command, _run(f"team billing {{team}} --spend-cap {cap}")),
    )  # fmt: skip


def _over_limit(measure: str) -> StateCase:
    name, option = WIRE_NAMES[measure], measure.replace("_", "-")
    return StateCase(
        f"over the limit of {measure}", 403, "remote_caching_over_limit", "over_limit",
        api=(_billing(limits={name: 1}), _billing(limits={name: 10**15})),
        commands=(
            _run(f"team limit {{team}} --{option} 1"),
            _run(f"team limit {{team}} --{option} 99999999"),
        ),
    )  # fmt: skip


PAUSED = _paused("raised", "1000000")
OVER_LIMITS = [_over_limit(measure) for measure in MEASURES]
RATE_LIMITED = StateCase(
    "rate limited", 429, "rate_limited", "enabled",
    api=(_settings(requestsPerMinute=0), _settings(requestsPerMinute=10_000)),
    commands=(
        _run("team set {team} --requests-per-minute 0"),
        _run("team set {team} --requests-per-minute none"),
    ),
)  # fmt: skip

TEAM_STATES = [
    SOFT_BLOCKED,
    PAYMENT_MISSING,
    DISABLED,
    PAUSED,
    _paused("disabled", None),
    *OVER_LIMITS,
    RATE_LIMITED,
]
ALL_STATES = [*TOKEN_STATES, *PERMISSION_STATES, DISABLED_FOR_USER, *TEAM_STATES]

PRECEDENCE = [
    NO_TOKEN,
    ROLE_WITHOUT_PERMISSION,
    SOFT_BLOCKED,
    PAYMENT_MISSING,
    DISABLED,
    DISABLED_FOR_USER,
    PAUSED,
    OVER_LIMITS[0],
    RATE_LIMITED,
]
"""The order of precedence: a team in several states is refused for the first of these."""
