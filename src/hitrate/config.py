"""Every setting of hitrate: name, type, default and help. The only reader of the environment.

A setting `max_cache_bytes` is `--max-cache-bytes` on the command line, `HITRATE_MAX_CACHE_BYTES`
in the environment and `max_cache_bytes` in the TOML file, in that order of precedence.
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


def _lifetime(text: str) -> float | None:
    return None if text.strip().lower() in ("", "never", "forever") else parse_duration(text)


def _positive_size(text: str) -> int:
    size = parse_size(text)
    if size == 0:
        raise ValueError("a size of at least one byte")
    return size


def _optional_size(text: str) -> int | None:
    return None if text.strip().lower() in ("", "none", "unlimited") else _positive_size(text)


def _port(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 65535):
        raise ValueError("a port from 1 to 65535")
    return int(text)


def _optional_path(text: str) -> Path | None:
    return Path(text) if text else None


def _join(text: str) -> tuple[str, str] | None:
    """A team's slug and a role."""
    if not text:
        return None
    slug, _, role = text.rpartition(":")
    if not slug or role.upper() not in list(Role):
        raise ValueError(f"TEAM:ROLE, where ROLE is one of {', '.join(list(Role))}")
    return slug, role.upper()


def _public_url(text: str) -> str:
    """Scheme, host and port; the pages have fixed addresses below it."""
    match = re.fullmatch(
        r"(https?://[A-Za-z0-9._-]+(?::\d+)?|https?://\[[0-9A-Fa-f:]+\](?::\d+)?)/?", text
    )
    if text and match is None:
        raise ValueError("an address without a path, such as https://cache.example.com")
    return match[1] if match else ""


def _issuer(text: str) -> str:
    safe = text.startswith("https://") or re.match(
        r"http://(127\.0\.0\.1|localhost|\[::1\])(:|/|$)", text
    )
    if text and not safe:
        raise ValueError("an address that begins with https://")
    return text


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError("one of " + ", ".join(allowed))
        return text

    return parse


def _setting(default: str, parse: Callable[[str], Any], text: str, *, secret: bool = False) -> Any:
    return field(
        default=parse(default),
        repr=not secret,
        metadata={"parse": parse, "help": text, "text": default},
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `hitrate serve` was told. Sizes in bytes, `_s` in seconds."""

    host: str = _setting("127.0.0.1", str, "Address to listen on.")
    port: int = _setting("3000", _port, "Port to listen on.")
    data_dir: Path = _setting("data", Path, "Folder that holds everything hitrate keeps.")
    tls_cert: Path | None = _setting("", _optional_path, "Certificate chain (PEM) to serve HTTPS.")
    tls_key: Path | None = _setting("", _optional_path, "Private key (PEM) of the certificate.")
    max_artifact_bytes: int = _setting("4GiB", _positive_size, "Largest artifact accepted.")
    max_body_bytes: int = _setting("8MiB", _positive_size, "Largest JSON body accepted.")
    artifact_ttl_s: float | None = _setting(
        "30d", _lifetime, "Artifacts unused for this long are removed; 'never' keeps them."
    )
    max_cache_bytes: int | None = _setting(
        "", _optional_size, "Room for all artifacts; the least recently used go first."
    )
    max_team_cache_bytes: int | None = _setting(
        "", _optional_size, "Room for the artifacts of each team."
    )
    event_ttl_s: float | None = _setting(
        "never", _lifetime, "Runs whose last event is older than this go, with their events."
    )
    min_free_bytes: int = _setting(
        "64MiB", parse_size, "Uploads are refused while the disk has less room than this."
    )
    public_url: str = _setting(
        "", _public_url, "Where browsers reach the server; as they ask for it if left out."
    )
    login_token_ttl_s: float | None = _setting(
        "90d", _lifetime, "How long a token of `turbo login` lives; 'never' ends it only by hand."
    )
    oidc_issuer: str = _setting(
        "", _issuer, "OpenID Connect provider that people sign in with: its issuer's address."
    )
    oidc_client_id: str = _setting("", str, "What the provider calls this server.")
    oidc_client_secret: str = _setting(
        "", str, "What the provider knows it by; better not on the command line.", secret=True
    )
    oidc_name: str = _setting("single sign-on", str, "What the provider is called on the button.")
    oidc_join: tuple[str, str] | None = _setting(
        "", _join, "TEAM:ROLE for people whom the provider knows and we do not; else they stay out."
    )
    log_level: str = _setting(
        "info", _choice("debug", "info", "warning", "error"), "Least level that is logged."
    )
    log_format: str = _setting("auto", _choice("auto", "json", "text"), "How log lines look.")

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError(
                "tls_cert and tls_key go together: give both to serve HTTPS, or neither."
            )

    def check_oidc(self) -> None:
        """Raises ConfigError for half of a single sign-on. For who serves: other commands may be
        run where its secret is not."""
        together = ("oidc_issuer", "oidc_client_id", "oidc_client_secret")
        missing = [name for name in together if not getattr(self, name)]
        if missing and (len(missing) < len(together) or self.oidc_join is not None):
            raise ConfigError(
                f"Single sign-on lacks {' and '.join(missing)}: {', '.join(together)} go together, "
                "and oidc_join needs them."
            )


@dataclass(frozen=True)
class Option:
    """One setting as the command line shows it."""

    field: str
    name: str
    default: str
    help: str
    parse: Callable[[str], Any]

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def env(self) -> str:
        return "HITRATE_" + self.name.upper()


OPTIONS: tuple[Option, ...] = tuple(
    Option(f.name, f.name.removesuffix("_s"), m["text"], m["help"], m["parse"])
    for f in fields(Settings)
    for m in [cast("Mapping[str, Any]", f.metadata)]
)


def load_settings(
    given: Mapping[str, str | None],
    config_file: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings from the command line (`given`), the environment, the file and the defaults.

    Raises ConfigError, naming the setting, where it was set and what would be right.
    """
    env = os.environ if environ is None else environ
    from_file = _read_file(config_file, env)
    values: dict[str, Any] = {}
    for option in OPTIONS:
        for text, where in (
            (given.get(option.name), option.flag),
            (env.get(option.env), option.env),
            (from_file.get(option.name), f"{option.name} in the configuration file"),
        ):
            if text is not None:
                values[option.field] = _parsed(option, text, where)
                break
    return Settings(**values)


def _parsed(option: Option, text: str, where: str) -> Any:
    try:
        return option.parse(text)
    except ValueError as error:
        raise ConfigError(f"{where} is {text!r}; it takes {error}.") from error


def _read_file(config_file: Path | None, env: Mapping[str, str]) -> dict[str, str]:
    path = config_file or (Path(env["HITRATE_CONFIG"]) if env.get("HITRATE_CONFIG") else None)
    if path is None:
        if not DEFAULT_CONFIG_FILE.is_file():
            return {}
        path = DEFAULT_CONFIG_FILE
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"The configuration file {path} cannot be read: {error}.") from error
    known = {option.name for option in OPTIONS}
    if unknown := sorted(set(data) - known):
        raise ConfigError(
            f"{path} sets {', '.join(unknown)}, which hitrate does not know; "
            f"it knows {', '.join(sorted(known))}."
        )
    return {name: str(value) for name, value in data.items()}
