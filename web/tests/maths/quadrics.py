"""Names of quadrics for quadric.test.ts, one case for each way in which three eigenvalues and three
linear terms can be of each sign or zero, at levels of each sign:

    python web/tests/maths/quadrics.py > web/tests/maths/quadrics.json
"""

import json
import sys
from itertools import product

from quadric.forms.quadric import name_quadric

SIZES = [([2.0, 1.5, 1.0], 0.0), ([1.0, 0.6, 0.3], 0.01)]
"""Sizes of the eigenvalues, and the share of them that a flat one keeps."""
LINEAR = [[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, -0.7], [0.4, -0.3, 0.2]]

cases = [
    {
        "values": values,
        "linear": linear,
        "level": level,
        "name": name_quadric(values, level, linear),
    }
    for sizes, flat in SIZES
    for signs in product((1.0, flat, -1.0), repeat=3)
    for values in [[sign * size for sign, size in zip(signs, sizes, strict=True)]]
    for linear in LINEAR
    for level in (-0.5, 0.0, 0.5)
]
sys.stdout.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
