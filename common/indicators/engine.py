"""TA-Lib: loaded with the first question, for it takes a quarter of a second and 30 MB."""

from functools import lru_cache
from types import ModuleType

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@lru_cache(1)
def library() -> ModuleType:
    import talib

    return talib


def outputs_of(function: str, *arguments: Floats | float) -> tuple[Floats, ...]:
    """All outputs, each as long as the inputs; NaN where not defined. Inputs have no NaN: one would spoil all after."""
    found = getattr(library(), function)(*arguments)
    return found if isinstance(found, tuple) else (found,)


def output_of(function: str, *arguments: Floats | float) -> Floats:
    """Of a function with a single one."""
    (found,) = outputs_of(function, *arguments)
    return found
