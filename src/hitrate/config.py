"""Settings of the server: name, type, default and help text of each, and where values come from.

The setting `max_cache_bytes` is `--max-cache-bytes` on the command line,
`HITRATE_MAX_CACHE_BYTES` in the environment and `max_cache_bytes` in the TOML file, in this order
of precedence. No other module reads the environment or the file.
"""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from hitrate.errors import ConfigError
from hitrate.roles import Role
from hitrate.units import parse_duration, parse_size

DEFAULT_CONFIG_FILE = Path("hitrate.toml")

_TEXT = (str,)
_INTEGER = (int, str)
_NUMBER = (int, float, str)
_TOML_TYPES = {bool: "a boolean", int: "an integer", float: "a float", str: "a string"}
_TOML_TYPES |= {list: "an array", dict: "a table"}


# Parsers of values. The message of their ValueError is a noun phrase that follows "it takes".


def _parse_lifetime(text: str) -> float | None:
    return None if text.strip().lower() in ("", "never", "forever") else parse_duration(text)


def _parse_positive_size(text: str) -> int:
    size_bytes = parse_size(text)
    if size_bytes == 0:
        raise ValueError("a size of at least one byte")
    return size_bytes


def _parse_optional_size(text: str) -> int | None:
    return None if text.strip().lower() in ("", "none", "unlimited") else _parse_positive_size(text)


def _parse_port(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 65535):
        raise ValueError("a port from 1 to 65535")
    return int(text)


def _parse_optional_path(text: str) -> Path | None:
    return Path(text) if text else None


def _parse_team_role(text: str) -> tuple[str, str] | None:
    """Return the slug of a team and a role."""
    if not text:
        return None
    slug, _, role = text.rpartition(":")
    if not slug or role.upper() not in list(Role):
        raise ValueError(f"TEAM:ROLE, where ROLE is one of {', '.join(Role)}")
    return slug, role.upper()


def _parse_public_url(text: str) -> str:
    """Return scheme, host and port. A path is not allowed: pages have fixed paths."""
    match = re.fullmatch(
        r"(https?://[A-Za-z0-9._-]+(?::\d+)?|https?://\[[0-9A-Fa-f:]+\](?::\d+)?)/?", text
    )
    if text and match is None:
        raise ValueError("a URL without a path, such as https://cache.example.com")
    return match[1] if match else ""


def _parse_issuer(text: str) -> str:
    """Return the URL. Plain HTTP is allowed for this machine only."""
    is_safe = text.startswith("https://") or re.match(
        r"http://(127\.0\.0\.1|localhost|\[::1\])(:|/|$)", text
    )
    if text and not is_safe:
        raise ValueError("a URL that begins with https://")
    return text


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError("one of " + ", ".join(allowed))
        return text

    return parse


def _setting(
    default: str,
    parse: Callable[[str], Any],
    help_text: str,
    *,
    toml_types: tuple[type, ...] = _TEXT,
    secret: bool = False,
) -> Any:
    return field(
        default=parse(default),
        repr=not secret,
        metadata={
            "parse": parse,
            "help": help_text,
            "default": default,
            "toml_types": toml_types,
        },
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of `hitrate serve`. A name ends in its unit: `_bytes`, or `_s` for seconds."""

    host: str = _setting("127.0.0.1", str, "Address to listen on.")
    port: int = _setting("3000", _parse_port, "Port to listen on.", toml_types=_INTEGER)
    data_dir: Path = _setting("data", Path, "Directory in which the server stores all its data.")
    tls_cert: Path | None = _setting(
        "", _parse_optional_path, "Certificate chain (PEM) for HTTPS; needs --tls-key."
    )
    tls_key: Path | None = _setting(
        "", _parse_optional_path, "Private key (PEM) of the certificate."
    )
    max_artifact_bytes: int = _setting(
        "4GiB", _parse_positive_size, "Maximum size of an artifact.", toml_types=_INTEGER
    )
    max_body_bytes: int = _setting(
        "8MiB", _parse_positive_size, "Maximum size of a JSON request body.", toml_types=_INTEGER
    )
    artifact_ttl_s: float | None = _setting(
        "30d",
        _parse_lifetime,
        "Evict artifacts that are unused for this long; 'never' keeps them.",
        toml_types=_NUMBER,
    )
    max_cache_bytes: int | None = _setting(
        "",
        _parse_optional_size,
        "Maximum size of all artifacts; the least recently used are evicted.",
        toml_types=_INTEGER,
    )
    max_team_cache_bytes: int | None = _setting(
        "",
        _parse_optional_size,
        "Maximum size of the artifacts of each team.",
        toml_types=_INTEGER,
    )
    event_ttl_s: float | None = _setting(
        "never",
        _parse_lifetime,
        "Delete runs and their events this long after their last event.",
        toml_types=_NUMBER,
    )
    min_free_bytes: int = _setting(
        "64MiB",
        parse_size,
        "Refuse uploads while the disk has less free space than this.",
        toml_types=_INTEGER,
    )
    public_url: str = _setting(
        "",
        _parse_public_url,
        "URL at which browsers and turbo reach the server. Default: the Host header of requests.",
    )
    login_token_ttl_s: float | None = _setting(
        "90d",
        _parse_lifetime,
        "Lifetime of tokens of `turbo login`; 'never' for no expiry.",
        toml_types=_NUMBER,
    )
    oidc_issuer: str = _setting(
        "", _parse_issuer, "Issuer URL of the OpenID Connect provider for single sign-on."
    )
    oidc_client_id: str = _setting("", str, "Client ID of this server at the provider.")
    oidc_client_secret: str = _setting(
        "",
        str,
        "Client secret at the provider; set it in the environment, not on the command line.",
        secret=True,
    )
    oidc_name: str = _setting(
        "single sign-on", str, "Name of the provider on the button of the login page."
    )
    oidc_join: tuple[str, str] | None = _setting(
        "",
        _parse_team_role,
        "TEAM:ROLE that unknown users join at their first single sign-on; without it, they are "
        "refused.",
    )
    log_level: str = _setting(
        "info", _choice("debug", "info", "warning", "error"), "Lowest level that is logged."
    )
    log_format: str = _setting(
        "auto",
        _choice("auto", "json", "text"),
        "Format of log lines; 'auto' is text on a terminal and JSON elsewhere.",
    )

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError(
                "tls_cert and tls_key go together: set both to serve HTTPS, or neither."
            )

    def check_oidc(self) -> None:
        """Check that single sign-on is configured completely or not at all. Raises ConfigError.

        Only commands that need single sign-on call this: others may run without the secret.
        """
        required = ("oidc_issuer", "oidc_client_id", "oidc_client_secret")
        missing = [name for name in required if not getattr(self, name)]
        if missing and (len(missing) < len(required) or self.oidc_join is not None):
            raise ConfigError(
                f"Single sign-on lacks {' and '.join(missing)}: {', '.join(required)} go together, "
                "and oidc_join needs them."
            )


@dataclass(frozen=True)
class Option:
    """A setting as an option of the command line, a variable and a key of the file.

    `field` is its attribute of Settings, `name` its key without the unit `_s`, `toml_types` are
    the Python types of the TOML values that it accepts.
    """

    field: str
    name: str
    default: str
    help: str
    parse: Callable[[str], Any]
    toml_types: tuple[type, ...]

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def env(self) -> str:
        return "HITRATE_" + self.name.upper()


OPTIONS: tuple[Option, ...] = tuple(
    Option(f.name, f.name.removesuffix("_s"), m["default"], m["help"], m["parse"], m["toml_types"])
    for f in fields(Settings)
    for m in [cast("Mapping[str, Any]", f.metadata)]
)


def load_settings(
    arguments: Mapping[str, str | None],
    config_file: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings from the command line, the environment, the TOML file and the defaults.

    `arguments` maps the name of an option to its value on the command line, or None. Without
    `config_file`, the file is HITRATE_CONFIG, or `hitrate.toml` if it exists. Raises ConfigError,
    which names the setting, where it is set, and what it takes.
    """
    env = os.environ if environ is None else environ
    path, file_values = _read_file(config_file, env)
    values: dict[str, Any] = {}
    for option in OPTIONS:
        for text, source in (
            (arguments.get(option.name), option.flag),
            (env.get(option.env), option.env),
            (file_values.get(option.name), f"{option.name} in {path}"),
        ):
            if text is not None:
                values[option.field] = _parse(option, text, source)
                break
    return Settings(**values)


def _parse(option: Option, text: str, source: str) -> Any:
    try:
        return option.parse(text)
    except ValueError as error:
        raise ConfigError(f"{source} is {text!r}; it takes {error}.") from error


def _read_file(
    config_file: Path | None, env: Mapping[str, str]
) -> tuple[Path | None, dict[str, str]]:
    """Return the path of the TOML file, if any, and the text of each value."""
    path = config_file or (Path(env["HITRATE_CONFIG"]) if env.get("HITRATE_CONFIG") else None)
    if path is None:
        if not DEFAULT_CONFIG_FILE.is_file():
            return None, {}
        path = DEFAULT_CONFIG_FILE
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"The configuration file {path} cannot be read: {error}.") from error
    options = {option.name: option for option in OPTIONS}
    if unknown := sorted(set(data) - set(options)):
        keys = ", ".join(f"`{key}`" for key in unknown)
        raise ConfigError(
            f"{path} contains the unknown key{'s' if len(unknown) > 1 else ''} {keys}; "
            f"the settings are {', '.join(sorted(options))}."
        )
    return path, {
        name: _text_of_toml_value(options[name], value, f"{name} in {path}")
        for name, value in data.items()
    }


def _text_of_toml_value(option: Option, value: object, source: str) -> str:
    """Return a TOML value as the text that the option parses, if it has a suitable type."""
    if type(value) in option.toml_types:
        return str(value)
    accepted = [_TOML_TYPES[accepted_type] for accepted_type in option.toml_types]
    actual = _TOML_TYPES.get(type(value), "a date or time")
    *others, last = accepted
    choices = f"{', '.join(others)} or {last}" if others else last
    raise ConfigError(f"{source} is {actual}; it takes {choices}.")
