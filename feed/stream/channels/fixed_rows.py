"""The height of rows on a stream: one that stays. What `auto` makes of the bars of one answer is told with it."""

from common.errors import BadInput
from feed.wire.parameter_types import RowTicks, Scope


class FixedRowTicks(RowTicks):
    def read(self, name: str, text: str, scope: Scope) -> int:
        ticks = super().read(name, text, scope)
        if ticks is None:
            raise BadInput(
                f"{name} is 'auto', expected a height, such as the one that an answer with {name}=auto tells"
            )
        return ticks
