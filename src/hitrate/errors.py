"""Everything hitrate raises on purpose.

    HitrateError
    ├── RequestError                what a caller asked for was refused, and nothing was changed
    │   ├── BadRequest         the input is invalid; the message says what, where and what to do
    │   ├── Unauthorized       no token, or one that is unknown, expired or revoked
    │   ├── PaymentRequired    the account is soft-blocked, or a payment is missing
    │   ├── Forbidden          the token may not do this, or not in this team
    │   ├── CachingDisabled    Remote Caching is disabled for this team or this user
    │   ├── CachingPaused      the spend cap is reached
    │   ├── CachingOverLimit   a usage limit of the billing cycle is reached
    │   ├── NotFound           the thing asked for is not there
    │   ├── MethodNotAllowed   the address exists, the method does not
    │   ├── PayloadTooLarge           the body passes the configured limit
    │   ├── RateLimited        too many requests, or guesses, in a short time
    │   └── ServiceUnavailable        cannot be stored or read now; trying again later may work
    │       └── DatabaseError  the database cannot be opened, read or written
    ├── ConfigError            a setting is missing or wrong
    └── DataDirLocked         another hitrate process serves this data folder

HTTP is not spoken here: `web/errors.py` maps these to status and code.
"""


class HitrateError(Exception):
    """The root. `str(error)` is a sentence for the person who meets it."""


class RequestError(HitrateError):
    """A request was refused; nothing was changed."""


class BadRequest(RequestError):
    """The input is invalid."""


class Unauthorized(RequestError):
    """No token, or one that is unknown, expired or revoked."""


class LoginRequired(Unauthorized):
    """A page needs a signed-in user; `login_url` is the sign-in page that leads back to it."""

    def __init__(self, login_url: str) -> None:
        super().__init__("Nobody is signed in; open /login in a browser.")
        self.login_url = login_url


class Forbidden(RequestError):
    """The token may not do this, or not in this team."""


class PaymentRequired(RequestError):
    """The account is soft-blocked, or a payment is missing."""


class CachingDisabled(RequestError):
    """Remote Caching is disabled for this team or this user."""


class CachingPaused(RequestError):
    """The spend cap is reached: paused until an owner disables or raises it."""


class CachingOverLimit(RequestError):
    """A usage limit of the billing cycle is reached."""


class NotFound(RequestError):
    """The thing asked for is not there."""


class MethodNotAllowed(RequestError):
    """The address exists, the method does not. `allowed` lists the methods that do."""

    def __init__(self, message: str, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class PayloadTooLarge(RequestError):
    """The body passes the configured limit."""


class RateLimited(RequestError):
    """Too many requests, or guesses, in a short time; `retry_after_s` says when to go on."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ServiceUnavailable(RequestError):
    """Cannot be done now, nothing was stored; `retry_after_s` says when to try again."""

    def __init__(self, message: str, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DatabaseError(ServiceUnavailable):
    """The database cannot be opened, read or written, or is not one of ours."""


class ConfigError(HitrateError):
    """A setting is missing or wrong."""


class DataDirLocked(HitrateError):
    """Another hitrate process holds this data folder."""
