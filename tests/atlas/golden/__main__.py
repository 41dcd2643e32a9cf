"""``python -m tests.atlas.golden``: write the atlases of this folder again."""

from tests.atlas.golden import FOLDER, write_golden

write_golden(FOLDER)
