"""HTML form bodies: parsing and size limits."""

from urllib.parse import parse_qs

from hitrate.errors import BadRequest

FORM_MOST_BYTES = 64 * 1024
_FIELDS_MOST = 50


class Form:
    """What a person filled in."""

    def __init__(self, body: bytes) -> None:
        try:
            self._fields = parse_qs(
                body.decode(), keep_blank_values=True, max_num_fields=_FIELDS_MOST
            )
        except ValueError as error:  # not UTF-8, or too many fields
            raise BadRequest("This is not a form of this server.") from error

    def one(self, name: str) -> str:
        """A field's value, empty when it was not sent."""
        return self._fields.get(name, [""])[-1]

    def many(self, name: str) -> list[str]:
        """All values of a field."""
        return self._fields.get(name, [])
