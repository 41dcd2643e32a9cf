"""``python -m quadric``."""

from quadric.cli import main

main()
