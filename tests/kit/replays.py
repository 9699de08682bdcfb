"""Replays as the command runs them."""

from common.settings import Settings
from common.store.registry import Market
from workers.replay import Replayer
from workers.run import WorkerSettings
from workers.sources.replay import Replay


def replayer(url: str, market: Market, source: Replay, **settings: object) -> Replayer:
    made = WorkerSettings.of(Settings(), **{"redis_url": url, "commit_interval_ms": 0, "batch_trades": 100} | settings)
    return Replayer(url, market, source, made.term, made.bounds, "test")
