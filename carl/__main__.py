"""Run the command line as ``python -m carl``."""

from carl.cli import main

main()
