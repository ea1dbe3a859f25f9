"""All handlers of the management API, in the order of the API documentation."""

from hitrate.management import audit, billing, members, settings, tokens, turbo_account, user

HANDLERS = (
    *settings.HANDLERS,
    *members.HANDLERS,
    *tokens.HANDLERS,
    *billing.HANDLERS,
    *audit.HANDLERS,
    *user.HANDLERS,
    *turbo_account.HANDLERS,
)
