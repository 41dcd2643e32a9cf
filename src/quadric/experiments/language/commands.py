"""``quadric lm``: train and convert gated language models, and read their weights."""

from __future__ import annotations

from quadric.experiments.language.training_commands import bilinearize, train

COMMANDS = [train, bilinearize]
