"""Which runs a report is about, as SQL. Values are always bound, never written into a query."""

from dataclasses import dataclass
from typing import Any

from hitrate.analytics.period import Period
from hitrate.errors import BadRequest

NONE = "none"
"""For runs that did not say."""

ANY = "any"
"""For runs that said something."""

_INTERACTIVE = {"true": True, "false": False, "1": True, "0": False}


@dataclass(frozen=True, slots=True)
class Filters:
    """What a run must have said of itself; None does not filter. `interactive` is true, false or
    none; `ci` and `agent` a name, any or none; `token` a token's id."""

    ci: str | None = None
    interactive: str | None = None
    agent: str | None = None
    token: str | None = None

    def check(self) -> None:
        """Raises BadRequest."""
        wanted = self.interactive
        if wanted is not None and wanted not in (NONE, ANY, *_INTERACTIVE):
            raise BadRequest(f"interactive is {wanted[:40]!a}; send true, false, any or none.")


def sender_clause(filters: Filters, values: dict[str, Any]) -> str:
    """The condition on a row `s` of senders; adds to the values that are to be bound."""
    clauses = []
    for name in ("ci", "interactive", "agent"):
        wanted = getattr(filters, name)
        if wanted == NONE:
            clauses.append(f"s.{name} IS NULL")
        elif wanted == ANY:
            clauses.append(f"s.{name} IS NOT NULL")
        elif wanted is not None:
            clauses.append(f"s.{name} = ${name}")
            values[name] = _INTERACTIVE[wanted] if name == "interactive" else wanted
    if filters.token is not None:
        clauses.append("s.token_id = $token")
        values["token"] = filters.token
    return "".join(f" AND {clause}" for clause in clauses)


@dataclass(frozen=True, slots=True)
class ReportQuery:
    """A team's runs that began in a period and match the filters."""

    team_id: str
    period: Period
    filters: Filters = Filters()

    def runs(self) -> tuple[str, dict[str, Any]]:
        """FROM and WHERE over `runs r` and their `senders s`, and the values to bind."""
        values = self._values()
        return (
            "FROM runs r JOIN senders s ON s.id = r.sender WHERE r.team_id = $team "
            "AND r.started_at >= $from_ms AND r.started_at < $to_ms"
            + sender_clause(self.filters, values),
            values,
        )

    def transfers(self) -> tuple[str, dict[str, Any]]:
        """The same over `transfers t`: what was moved in the period."""
        values = self._values()
        return (
            "FROM transfers t JOIN senders s ON s.id = t.sender WHERE s.team_id = $team "
            "AND t.moved_at >= $from_ms AND t.moved_at < $to_ms"
            + sender_clause(self.filters, values),
            values,
        )

    def _values(self) -> dict[str, Any]:
        return {
            "team": self.team_id,
            "from_ms": self.period.from_ms,
            "to_ms": self.period.to_ms,
        }
