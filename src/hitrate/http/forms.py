"""HTML form bodies: parsing and size limits."""

from urllib.parse import parse_qs

from hitrate.errors import BadRequest

MAX_FORM_BYTES = 64 * 1024
_MAX_FIELDS = 50


class Form:
    """The fields of a submitted HTML form. Raises BadRequest if the body is not one."""

    def __init__(self, body: bytes = b"") -> None:
        try:
            self._fields = parse_qs(
                body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS
            )
        except ValueError as error:  # not UTF-8, or too many fields
            raise BadRequest("The request body is not a form of this server.") from error

    def one(self, name: str) -> str:
        """Return the last value of a field; empty if it was not sent."""
        return self._fields.get(name, [""])[-1]

    def many(self, name: str) -> list[str]:
        """Return all values of a field."""
        return self._fields.get(name, [])
