"""Experiments behind the result tables, one module each, with the settings of the command line."""

from noethers_razor.cli import host

# JAX reads its environment when it is loaded, so this call comes before any import of JAX.
host.prepare()
