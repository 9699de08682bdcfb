"""How much a run of the tests does of what is counted: all of it, or the part of it that TEST_SCALE says.

`infra/test --quick` does a twentieth, `infra/test` two fifths, `infra/test --full` all, as does pytest alone. A
variable that names a count, such as SIMULATION_SEEDS, is taken as it is.
"""

import os

SCALE = float(os.environ.get("TEST_SCALE", "1"))


def scaled(count: int) -> int:
    """Return the part of `count` that is to be done, at least 1."""
    return max(1, round(count * SCALE))
