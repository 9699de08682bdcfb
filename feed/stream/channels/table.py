"""The channels, by their names."""

from typing import Any

from common.errors import BadInput
from feed.stream.channels import book, candles, footprint, heatmap, orderflow, trades
from feed.stream.channels.channel import Channel
from feed.wire.parameter_types import shown

ALL = (candles.CHANNEL, trades.CHANNEL, footprint.CHANNEL, orderflow.CHANNEL, book.BOOK, book.QUOTE, heatmap.CHANNEL)
CHANNELS: dict[str, Channel[Any]] = {channel.name: channel for channel in ALL}


def channel_of(name: object) -> Channel[Any]:
    """The one that a client names, or BadInput."""
    found = CHANNELS.get(name) if isinstance(name, str) else None
    if found is None:
        raise BadInput(f"channel is {shown(name)}, expected {', '.join(CHANNELS)}")
    return found
