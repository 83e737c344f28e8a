"""``python -m carl`` is the command ``carl``."""

from carl.cli import main

main()
