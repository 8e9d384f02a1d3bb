"""Measurements of speed and memory, one in each module, with the JAX settings of the command line."""

from noethers_razor.cli import host

# Prepare the environment before a module imports JAX, because JAX reads it at import.
host.prepare()
