"""`hitrate serve`: start the server, after creating a first team and token if there is none."""

import gc

import click

from hitrate import log
from hitrate.auth.accounts import AccountStore
from hitrate.cli.server_options import accounts, settings_options
from hitrate.config import Settings
from hitrate.datadir import DataDirLock, check_port_free, server_url
from hitrate.errors import ConfigError

DEFAULT_TEAM = "default"


@click.command()
@settings_options()
def serve(settings: Settings) -> None:
    """Start the server.

    On an empty data directory, create the team `default` and a token, and print the variables
    that connect turbo.
    """
    # Off until the server is up: collections took 10% of its startup and freed almost nothing.
    gc.disable()
    try:
        _serve(settings)
    finally:
        gc.enable()


def _serve(settings: Settings) -> None:
    # Imported here, because no other command needs the HTTP server, and importing it takes time.
    import uvloop

    from hitrate.app.serve import serve as run_server
    from hitrate.http.litestar import configure_handler_threads

    log.configure(settings.log_level, settings.log_format)
    _check_tls(settings)
    settings.check_oidc()
    with DataDirLock(settings):
        check_port_free(settings)
        with accounts(settings, create=True) as store:
            _print_connection_help(settings, store)
        configure_handler_threads()
        uvloop.run(run_server(settings))


def _check_tls(settings: Settings) -> None:
    for option, path in (("--tls-cert", settings.tls_cert), ("--tls-key", settings.tls_key)):
        if path is not None and not path.is_file():
            raise ConfigError(f"{option} {path} is not a file; pass the path of a PEM file.")


def _print_connection_help(settings: Settings, store: AccountStore) -> None:
    url = settings.public_url or server_url(settings)
    teams = store.teams.all()
    if teams:
        click.echo(
            f"hitrate runs at {url}. The variables for turbo were printed at the first start.\n"
            f"To create a new token: hitrate token create --team {teams[0].slug} "
            f"--data-dir {settings.data_dir}"
        )
        return
    team = store.teams.create(DEFAULT_TEAM)
    _, secret = store.tokens.create(team, "first token")
    click.echo(
        f"hitrate runs at {url}. Set these variables where turbo runs.\n"
        "The token is not shown again.\n\n"
        f"export TURBO_API={url}\n"
        f"export TURBO_TEAM={team.slug}\n"
        f"export TURBO_TOKEN={secret}\n"
    )
