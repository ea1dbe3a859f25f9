"""Every state that a request can meet: how it is entered and left, through the API and by commands,
and what is answered meanwhile."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hitrate.auth import token_secrets
from hitrate.teams.settings import MEASURES
from tests.support.client_operations import Outcomes, all_refused, refusals
from tests.support.team_fixture import Stage, camel

Step = Callable[[Stage], object]
Steps = tuple[Step, Step]
"""One enters a state, the other leaves it."""


@dataclass(frozen=True)
class State:
    """What refuses requests: with which status and code, and what `status` says meanwhile, which
    is refused like the others where that is None."""

    name: str
    status: int
    code: str
    says: str | None
    api: Steps | None = None
    commands: Steps | None = None

    def __str__(self) -> str:
        return self.name

    def holds(self, outcomes: Outcomes) -> bool:
        """Whether this, and nothing else, is what was answered."""
        spared = () if self.says is None else ("status",)
        assert refusals(outcomes) == all_refused(self.status, self.code, *spared)
        assert outcomes["status"].value == (self.says and {"status": self.says})
        return True


def _billing(**body: Any) -> Step:
    return lambda stage: stage.api("PATCH", "billing", body)


def _as_operator(**body: Any) -> Step:
    return lambda stage: stage.api("PATCH", "billing", body, token=stage.house.operator)


def _settings(**body: Any) -> Step:
    return lambda stage: stage.api("PATCH", "settings", body)


def _member(**body: Any) -> Step:
    return lambda stage: stage.api("PATCH", f"members/{stage.developer.id}", body)


def _run(line: str) -> Step:
    return lambda stage: stage.command(line)


def _send(token: str | None) -> Step:
    return lambda stage: setattr(stage, "token", token)


def _name(**named: str) -> Step:
    return lambda stage: setattr(stage, "named", stage.named | named)


def _named_again(stage: Stage) -> None:
    stage.named = {"teamId": stage.team.id, "slug": stage.team.slug}


def _another_team(stage: Stage) -> None:
    other = stage.house.accounts.teams.create(f"not-{stage.team.slug}")
    stage.named = {"teamId": other.id, "slug": other.slug}


def _make_own_token(**body: Any) -> Step:
    def make(stage: Stage) -> None:
        stage.token = stage.api("POST", "/v1/user/tokens", body, token=stage.token or "")["token"]

    return make


def _revoke(stage: Stage) -> None:
    stage.api("DELETE", f"/v1/user/tokens/{stage.own_token.id}", token=stage.token or "")


def _add_again(stage: Stage) -> None:
    stage.api("POST", "members", {"email": stage.developer.email})


_UNAUTHORIZED = (401, "unauthorized", None)
_FORBIDDEN = (403, "forbidden", None)
_new_token: Step = Stage.take_new_token

NO_TOKEN = State("no token", *_UNAUTHORIZED, api=(_send(None), _new_token))
TOKENS = [
    NO_TOKEN,
    State("a malformed token", *_UNAUTHORIZED, api=(_send("hr_secret"), _new_token)),
    State("an unknown token", *_UNAUTHORIZED, api=(_send(token_secrets.new_secret()), _new_token)),
    State("an expired token", *_UNAUTHORIZED, api=(_make_own_token(expiresIn="0s"), _new_token)),
    State(
        "a revoked token",
        *_UNAUTHORIZED,
        api=(_revoke, _new_token),
        commands=(_run("token revoke {token}"), _new_token),
    ),
    State(
        "a disabled person's token",
        *_UNAUTHORIZED,
        commands=(_run("user disable {email}"), _run("user enable {email}")),
    ),
]

ROLE = State(
    "a role without the permission",
    *_FORBIDDEN,
    api=(_member(role="BILLING"), _member(role="DEVELOPER")),
    commands=(
        _run("team change {team} {email} --role BILLING"),
        _run("team change {team} {email} --role DEVELOPER"),
    ),
)
PERMISSIONS = [
    ROLE,
    State("another team", *_FORBIDDEN, api=(_another_team, _named_again)),
    State(
        "an unknown team",
        *_FORBIDDEN,
        api=(_name(teamId="team_nobodys", slug="nobodys"), _named_again),
    ),
    State("id and slug of two teams", *_FORBIDDEN, api=(_name(slug="default"), _named_again)),
    State(
        "a token without the scope",
        *_FORBIDDEN,
        api=(_make_own_token(scopes=["analytics"]), _new_token),
    ),
    State(
        "no longer in the team",
        *_FORBIDDEN,
        api=(lambda stage: stage.api("DELETE", f"members/{stage.developer.id}"), _add_again),
        commands=(_run("team remove {team} {email}"), _run("team add {team} {email}")),
    ),
]

SOFT_BLOCKED = State(
    "soft-blocked", 402, "payment_required", "disabled",
    api=(_as_operator(softBlocked=True), _as_operator(softBlocked=False)),
    commands=(_run("team block {team}"), _run("team unblock {team}")),
)  # fmt: skip
PAYMENT_MISSING = State(
    "a payment is missing", 402, "payment_required", "disabled",
    api=(_as_operator(paymentMissing=True), _as_operator(paymentMissing=False)),
    commands=(_run("team payment {team} missing"), _run("team payment {team} received")),
)  # fmt: skip
DISABLED = State(
    "disabled for the team", 403, "remote_caching_disabled", "disabled",
    api=(_settings(remoteCaching=False), _settings(remoteCaching=True)),
    commands=(
        _run("team set {team} --remote-caching off"),
        _run("team set {team} --remote-caching on"),
    ),
)  # fmt: skip
DISABLED_FOR_ONE = State(
    "disabled for one user", 403, "remote_caching_disabled", "disabled",
    api=(_member(remoteCaching=False), _member(remoteCaching=True)),
    commands=(
        _run("team change {team} {email} --remote-caching off"),
        _run("team change {team} {email} --remote-caching on"),
    ),
)  # fmt: skip

# One request costs a unit of the currency: the cap is reached by what the team used before.
_reach_cap = _billing(prices={"millionRequests": "1000000"}, spendCap="0.50")
_reach_cap_by_command = _run(
    "team billing {team} --price-million-requests 1000000 --spend-cap 0.50"
)


def _paused(left_by: str, cap: str | None) -> State:
    return State(
        f"paused by the spend cap, which is then {left_by}",
        403, "remote_caching_paused", "paused",
        api=(_reach_cap, _billing(spendCap=cap)),
        commands=(_reach_cap_by_command, _run(f"team billing {{team}} --spend-cap {cap}")),
    )  # fmt: skip


def _over(measure: str) -> State:
    option = measure.replace("_", "-")
    return State(
        f"over the limit of {measure}", 403, "remote_caching_over_limit", "over_limit",
        api=(_billing(limits={camel(measure): 1}), _billing(limits={camel(measure): 10**15})),
        commands=(
            _run(f"team limit {{team}} --{option} 1"),
            _run(f"team limit {{team}} --{option} 99999999"),
        ),
    )  # fmt: skip


PAUSED = _paused("raised", "1000000")
OVER_LIMITS = [_over(measure) for measure in MEASURES]
RATE_LIMITED = State(
    "rate limited", 429, "rate_limited", "enabled",
    api=(_settings(requestsPerMinute=0), _settings(requestsPerMinute=10_000)),
    commands=(
        _run("team set {team} --requests-per-minute 0"),
        _run("team set {team} --requests-per-minute none"),
    ),
)  # fmt: skip

WHOLE_TEAM = [
    SOFT_BLOCKED,
    PAYMENT_MISSING,
    DISABLED,
    PAUSED,
    _paused("disabled", None),
    *OVER_LIMITS,
    RATE_LIMITED,
]
STATES = [*TOKENS, *PERMISSIONS, DISABLED_FOR_ONE, *WHOLE_TEAM]

ORDER = [
    NO_TOKEN,
    ROLE,
    SOFT_BLOCKED,
    PAYMENT_MISSING,
    DISABLED,
    DISABLED_FOR_ONE,
    PAUSED,
    OVER_LIMITS[0],
    RATE_LIMITED,
]
"""The first that holds is what a request is answered with."""
