"""``quadric lm``: train and convert gated language models, and read their weights."""

from __future__ import annotations

from quadric.experiments.language.compose_command import compose
from quadric.experiments.language.dictionaries_command import dictionaries, losses
from quadric.experiments.language.reading_commands import COMMANDS as READINGS
from quadric.experiments.language.training_commands import bilinearize, train

COMMANDS = [train, bilinearize, dictionaries, losses, *READINGS, compose]
