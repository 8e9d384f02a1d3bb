"""`python -m noethers_razor.cli` is the command `noethers-razor`."""

from noethers_razor.cli.main import main

main()
