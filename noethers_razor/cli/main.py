"""The command line: commands, one line for each expected failure, exit codes."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

import click

from noethers_razor.cli import data, fit, host, inspect
from noethers_razor.errors import Interrupted, NoetherError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="noethers_razor")
def cli() -> None:
    """Find the conserved quantities of a system from its trajectories, and predict (Noether's Razor)."""


for command in (
    *(data.simulate, data.planets, data.check, data.convert, fit.fit, fit.demo),
    *(inspect.inspect, inspect.compare, inspect.predict),
):
    cli.add_command(command)


def _fail(message: str, code: int) -> NoReturn:
    """Print a message on one line and exit."""
    click.echo(f"noethers-razor: {' '.join(message.split())}", err=True)
    if code == Interrupted.exit_code:
        # Do not wait for programs that are still being compiled.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def main() -> None:
    """Run the command line. Every expected failure is one line on standard error and an exit code."""
    host.prepare()
    # Treat SIGTERM like Ctrl-C, so that training can save its state.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(cli(standalone_mode=False) or 0)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except NoetherError as error:
        _fail(str(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", Interrupted.exit_code)
    except OSError as error:
        _fail(f"{error.filename or 'file'}: {error.strerror or error}; check path, permissions and space", 2)
    except ValueError as error:
        _fail(str(error), 2)


if __name__ == "__main__":
    main()
