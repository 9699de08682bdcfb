"""What a client may say on a stream: its actions, and what they take, whatever the channel (feed.stream.channels)."""

from dataclasses import replace

from feed.bars.changes import Cursor
from feed.queries.parameters import TIMEFRAME
from feed.wire.parameter_types import AnyText, Parsed
from feed.wire.params import Parameter, Parameters

ACTIONS = ("subscribe", "focus", "unsubscribe", "ping", "list", "auth")

SYMBOL = Parameter("symbol", AnyText(), "", "A registered symbol.", is_required=True)
BARS = replace(TIMEFRAME, is_required=True)
CURSOR: Parameter[Cursor | None] = Parameter(
    "cursor", Parsed(Cursor.parse), None, "Where the client stands: of an answer or a message."
)
TOKEN = Parameter("token", AnyText(), "", "A token that may read.", is_required=True)


AUTH = Parameters((TOKEN,), lambda given: given[TOKEN])
