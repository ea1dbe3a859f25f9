"""Everything of this room that the database keeps, a store for each kind of thing."""

from sqlalchemy import Engine

from hitrate.auth.tokens import TokenStore
from hitrate.clock import Clock
from hitrate.teams.audit import AuditLog
from hitrate.teams.members import MemberStore
from hitrate.teams.store import TeamStore
from hitrate.teams.users import UserStore


class AccountStore:
    """Safe to use from several threads and processes: the command line and the server both do."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self.engine = engine
        self.teams = TeamStore(engine, clock)
        self.users = UserStore(engine, clock)
        self.members = MemberStore(engine, clock)
        self.tokens = TokenStore(engine, clock)
        self.audit = AuditLog(engine)
