"""The routes under `/v1/teams/{team}` and `/v1/user`: managing teams, members, tokens, billing."""

from collections.abc import Sequence

from litestar.handlers import HTTPRouteHandler

from hitrate.management.audit import audit_api
from hitrate.management.billing import billing_api, usage_api
from hitrate.management.members import member_api
from hitrate.management.services import AccountServices
from hitrate.management.settings import team_api
from hitrate.management.tokens import team_token_api
from hitrate.management.user import user_api


def account_api(office: AccountServices) -> Sequence[HTTPRouteHandler]:
    """The routes of this room."""
    rooms = (team_api, member_api, team_token_api, billing_api, usage_api, audit_api, user_api)
    return [handler for room in rooms for handler in room(office)]
