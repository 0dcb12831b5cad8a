"""`python -m extensions.organization`."""

from .cli import main

main()
