"""The command line: commands, options, jobs, HTML report."""
