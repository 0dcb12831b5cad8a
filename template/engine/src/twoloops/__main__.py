"""`python -m twoloops VERB`, for where the project's own command is not installed."""

from twoloops.cli import main

main()
