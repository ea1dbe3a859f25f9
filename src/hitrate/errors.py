"""Every error that the server raises on purpose.

    HitrateError
    ├── RequestError                    a request is rejected and changes nothing
    │   ├── BadRequest                  the input is invalid
    │   ├── Unauthorized                no valid token
    │   │   └── LoginRequired           a page needs a signed-in user
    │   ├── PaymentRequired             the team is soft-blocked, or a payment is missing
    │   ├── Forbidden                   the caller lacks a permission
    │   ├── CachingDisabled             Remote Caching is disabled for the team or the user
    │   ├── CachingPaused               the team's spend cap is reached
    │   ├── CachingOverLimit            a limit of the billing cycle is reached
    │   ├── NotFound                    the resource does not exist
    │   ├── MethodNotAllowed            the path exists, the method does not
    │   ├── PayloadTooLarge             the body exceeds the configured limit
    │   ├── RateLimited                 too many requests or attempts
    │   └── ServiceUnavailable          a temporary failure; a later retry may succeed
    │       └── DatabaseError           the SQLite database cannot be opened, read or written
    ├── EventStoreUnavailable           the event store cannot be used for now
    ├── InvalidSegment                  a spool segment has a line that can never be loaded
    ├── ConfigError                     a setting is missing or invalid
    └── DataDirLocked                   another hitrate process uses the data directory

`http/errors.py` maps each RequestError to an HTTP status and code.
"""


class HitrateError(Exception):
    """Base of all errors. `str(error)` is a sentence for the user who receives it."""


class RequestError(HitrateError):
    """A request is rejected and changes nothing."""


class BadRequest(RequestError):
    """The input is invalid. The message names the field, the problem and the accepted form."""


class Unauthorized(RequestError):
    """The token is missing, unknown, expired or revoked."""


class LoginRequired(Unauthorized):
    """A page needs a signed-in user. `login_url` is the login page, which returns to the page."""

    def __init__(self, login_url: str) -> None:
        super().__init__("Nobody is signed in; open /login in a browser.")
        self.login_url = login_url


class Forbidden(RequestError):
    """The caller lacks the permission, or lacks it in this team."""


class PaymentRequired(RequestError):
    """The team is soft-blocked, or a payment is missing."""


class CachingDisabled(RequestError):
    """Remote Caching is disabled for the team or the user."""


class CachingPaused(RequestError):
    """The team's spend cap is reached. Caching stays paused until an owner raises the cap."""


class CachingOverLimit(RequestError):
    """A limit of the billing cycle is reached."""


class NotFound(RequestError):
    """The resource does not exist, or the caller may not see it."""


class MethodNotAllowed(RequestError):
    """The path exists, the method does not. `allowed` lists the methods that exist."""

    def __init__(self, message: str, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class PayloadTooLarge(RequestError):
    """The body exceeds the configured limit."""


class RateLimited(RequestError):
    """Too many requests or attempts. A retry may succeed after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ServiceUnavailable(RequestError):
    """A temporary failure; nothing was stored. Retry after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DatabaseError(ServiceUnavailable):
    """The SQLite database cannot be opened, read or written, or has an unknown schema."""


class EventStoreUnavailable(HitrateError):
    """The event store is locked, damaged, out of disk space or still opening.

    Events stay in the spool. If `reopen` is true, the store recovers only by closing and
    reopening it.
    """

    def __init__(self, message: str, *, reopen: bool = False) -> None:
        super().__init__(message)
        self.reopen = reopen


class InvalidSegment(HitrateError):
    """A spool segment has a line that can never be loaded."""


class ConfigError(HitrateError):
    """A setting is missing or invalid."""


class DataDirLocked(HitrateError):
    """Another hitrate process uses the data directory."""
