"""``python -m filterdb``: the command line."""

from filterdb.cli import main

main()
