"""The stores of teams, users, members, tokens and the audit log."""

from sqlalchemy import Engine

from hitrate.auth.tokens import TokenStore
from hitrate.clock import Clock
from hitrate.teams.audit import AuditLog
from hitrate.teams.members import MemberStore
from hitrate.teams.store import TeamStore
from hitrate.teams.users import UserStore


class AccountStore:
    """One store for each kind of account data, on one database.

    Safe to use from several threads and processes: the server and commands use it concurrently.
    """

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self.engine = engine
        self.teams = TeamStore(engine, clock)
        self.users = UserStore(engine, clock)
        self.members = MemberStore(engine, clock)
        self.tokens = TokenStore(engine, clock)
        self.audit = AuditLog(engine)
