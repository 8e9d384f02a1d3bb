"""Reproductions, one module each; they run with the settings of the command line."""

from noethers_razor.cli import host

# Before a module loads JAX, which reads its environment then.
host.prepare()
