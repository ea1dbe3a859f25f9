"""The hitrate command line, one module per command."""
