"""What turbo is handed when a person comes back to it, and what a verification token buys."""

import msgspec

from hitrate.auth.permissions import READ_WRITE
from hitrate.errors import BadRequest, Forbidden, Unauthorized
from hitrate.http.cookies import Connection
from hitrate.http.redirects import loopback, with_query
from hitrate.pages.services import PageServices
from hitrate.teams.members import find_membership
from hitrate.teams.models import Actor, Team, User

LABEL = "turbo login"
_LABEL_MOST = 200
_STATE_MOST = 1024
_VERIFY = "verify"
_VERIFY_S = 5 * 60


class Target(msgspec.Struct):
    """The program that waits for a person to come back: turbo, on their computer."""

    url: str
    state: str | None

    def answer(self, **parameters: str) -> str:
        """Where to send the browser, with these and the state that came."""
        state = {} if self.state is None else {"state": self.state}
        return with_query(self.url, parameters | state)


class Ticket(msgspec.Struct):
    """What waits under a verification token."""

    user_id: str
    team_id: str


class Verified(msgspec.Struct, rename="camel"):
    """A token for one team; it is not shown again."""

    token: str
    team_id: str


def target_of(connection: Connection, name: str) -> Target:
    """From the query. Raises BadRequest."""
    url = loopback(connection.query_params.get(name), name)
    state: str | None = connection.query_params.get("state")
    if state is not None and len(state) > _STATE_MOST:
        raise BadRequest(f"state has more than {_STATE_MOST} characters.")
    return Target(url, state)


class TurboLogin:
    """Makes what turbo keeps. Safe to use from several threads and processes."""

    def __init__(self, desk: PageServices) -> None:
        self._desk = desk

    def team(self, user: User, name: str) -> Team:
        """The team that is named by id or slug, if the person is in it. Raises Forbidden."""
        memberships = self._desk.accounts.members.list_for_user(user)
        if member := find_membership(memberships, name):
            return member.team
        raise Forbidden(
            f"{user.email} is not in the team {name[:100]!r}. Check what follows --sso-team, or "
            "ask an owner of the team to let you in."
        )

    def token(self, user: User, team: Team | None = None, label: str = LABEL) -> str:
        """The secret of a new token of a person's, for one team or for all of theirs."""
        _, secret = self._desk.accounts.tokens.create(
            team,
            label,
            user=user,
            scopes=READ_WRITE,
            lifetime_s=self._desk.settings.login_token_ttl_s,
            actor=Actor.from_user(user),
        )
        return secret

    def send_back(self, user: User, team: Team, target: Target) -> str:
        """Where to send the browser, with a verification token."""
        token = self._desk.one_time_store.put(_VERIFY, Ticket(user.id, team.id), _VERIFY_S)
        return target.answer(token=token, email=user.email)

    def verify(self, secret: str, label: str) -> Verified:
        """A token for the person and the team, once. Raises Unauthorized, Forbidden."""
        ticket = self._desk.one_time_store.pop(_VERIFY, secret, Ticket)
        user = None if ticket is None else self._desk.sessions.find_user(ticket.user_id)
        if ticket is None or user is None:
            raise Unauthorized(
                "The verification token is unknown, used or too old; run `turbo login` again."
            )
        team = self.team(user, ticket.team_id)
        printable = "".join(c for c in label if c.isprintable())
        return Verified(self.token(user, team, printable[:_LABEL_MOST].strip() or LABEL), team.id)
