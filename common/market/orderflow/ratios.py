"""Parts of a whole as integers: never by division in floating point."""

WHOLE_BP = 10_000


def basis_points(part: int, whole: int) -> int | None:
    """Return `part / whole` in basis points, rounded half away from zero; None of nothing."""
    if whole == 0:
        return None
    rounded = (2 * WHOLE_BP * abs(part) + whole) // (2 * whole)
    return -rounded if part < 0 else rounded
