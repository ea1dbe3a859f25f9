"""Everything of this room that the database keeps, a store for each kind of thing."""

from sqlalchemy import Engine

from hitrate.accounts.audit import AuditLog
from hitrate.accounts.ledger import Ledger
from hitrate.accounts.members import MemberStore
from hitrate.accounts.teams import TeamStore
from hitrate.accounts.token_store import TokenStore
from hitrate.accounts.users import UserStore
from hitrate.clock import Clock


class AccountStore:
    """Safe to use from several threads and processes: the command line and the server both do."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self.engine = engine
        self.teams = TeamStore(engine, clock)
        self.users = UserStore(engine, clock)
        self.members = MemberStore(engine, clock)
        self.tokens = TokenStore(engine, clock)
        self.audit = AuditLog(engine)
        self.ledger = Ledger(engine)
