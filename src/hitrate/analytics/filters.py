"""Selection of the runs and transfers that a report covers, as SQL.

Values are always bound as parameters, never written into the SQL text.
"""

from dataclasses import dataclass
from typing import Any

from hitrate.analytics.period import Period
from hitrate.errors import BadRequest

NONE = "none"
"""Filter value that selects runs without a value."""

ANY = "any"
"""Filter value that selects runs with a value."""

_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters on the client metadata and the token of runs; None does not filter.

    `interactive` is true, false, any or none. `ci` and `agent` are a name, any or none. `token` is
    a token id.
    """

    ci: str | None = None
    interactive: str | None = None
    agent: str | None = None
    token: str | None = None

    def check(self) -> None:
        """Raise BadRequest if `interactive` has an unknown value."""
        value = self.interactive
        if value is not None and value not in (NONE, ANY, *_BOOLEANS):
            raise BadRequest(f"interactive is {value[:40]!a}; send true, false, any or none.")

    @property
    def conditions(self) -> str:
        """SQL conditions on a row `s` of `senders`, each with a leading AND."""
        conditions = []
        for column in ("ci", "interactive", "agent"):
            value = getattr(self, column)
            if value == NONE:
                conditions.append(f"s.{column} IS NULL")
            elif value == ANY:
                conditions.append(f"s.{column} IS NOT NULL")
            elif value is not None:
                conditions.append(f"s.{column} = ${column}")
        if self.token is not None:
            conditions.append("s.token_id = $token")
        return "".join(f" AND {condition}" for condition in conditions)

    @property
    def values(self) -> dict[str, Any]:
        """Values of the parameters in `conditions`."""
        values: dict[str, Any] = {}
        for column in ("ci", "interactive", "agent"):
            value = getattr(self, column)
            if value not in (None, NONE, ANY):
                values[column] = _BOOLEANS[value] if column == "interactive" else value
        if self.token is not None:
            values["token"] = self.token
        return values


@dataclass(frozen=True, slots=True)
class ReportQuery:
    """A team, a period and filters: what a report covers.

    `from_runs` and `from_transfers` are the FROM and WHERE clauses of a query with `values`.
    """

    team_id: str
    period: Period
    filters: Filters = Filters()

    @property
    def from_runs(self) -> str:
        """SQL that selects the runs `r` that began in the period, and the sender `s` of each."""
        return f"""
            FROM runs r JOIN senders s ON s.id = r.sender
            WHERE r.team_id = $team AND r.started_at >= $from_ms AND r.started_at < $to_ms
                {self.filters.conditions}
        """

    @property
    def from_transfers(self) -> str:
        """SQL that selects the transfers `t` in the period, and the sender `s` of each."""
        return f"""
            FROM transfers t JOIN senders s ON s.id = t.sender
            WHERE s.team_id = $team AND t.moved_at >= $from_ms AND t.moved_at < $to_ms
                {self.filters.conditions}
        """

    @property
    def period_values(self) -> dict[str, Any]:
        """Values of the parameters $team, $from_ms and $to_ms."""
        return {
            "team": self.team_id,
            "from_ms": self.period.from_ms,
            "to_ms": self.period.to_ms,
        }

    @property
    def values(self) -> dict[str, Any]:
        """Values of all parameters in `from_runs` and `from_transfers`."""
        return {**self.period_values, **self.filters.values}
