"""What the feed counts, for Prometheus. One registry per application: tests run several in one process."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from common.store.budget import Throttles
from common.store.health import HealthRules, HealthSigns, Tally
from common.store.jobs import JobsView
from common.store.reads import View
from common.store.registry import Market
from common.store.upkeep import Upkeep

# An answer out of a tail takes 1 ms, a year read again some 300 ms.
LATENCY_BUCKETS_S = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048)


class WorkerCounts(NamedTuple):
    """What scales the fleet: worker processes, and symbols without one."""

    wanted: int
    alive: int
    unassigned: int


@dataclass(frozen=True, slots=True)
class Published:
    """As of WebSocket clients, of what is published for subscribers of Redis."""

    subscriptions: Gauge
    sent: Counter
    lags: Counter


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self._requests = Counter("feed_requests", "HTTP requests answered", ["route", "status"], registry=r)
        self._seconds = Histogram(
            "feed_request_seconds", "Time to answer", ["route"], buckets=LATENCY_BUCKETS_S, registry=r
        )
        self.clients = Gauge("feed_ws_clients", "WebSocket clients connected", registry=r)
        self.subscriptions = Gauge("feed_ws_subscriptions", "Subscriptions of all clients", registry=r)
        self.sent = Counter("feed_ws_messages_sent", "Messages sent to WebSocket clients", registry=r)
        self.lags = Counter("feed_ws_lag_notices", "Times a client was too slow and got a snapshot", registry=r)
        self.connections = Gauge("feed_connections", "Connections of clients", registry=r)
        self.refused = Counter("feed_connections_refused", "Connections refused, by the bound", ["why"], registry=r)
        self.cut = Counter("feed_connections_cut", "Connections cut off, by what was wrong", ["why"], registry=r)
        self.busy = Counter("feed_queries_refused", "Queries refused because too many read much", registry=r)
        self.commits = Counter("feed_commits_received", "Commit messages received", registry=r)
        self.resyncs = Counter("feed_resyncs", "Times live bars were read again", ["why"], registry=r)
        self.published = Published(
            Gauge("feed_redis_channels", "Channels that this feed publishes in Redis", registry=r),
            Counter("feed_redis_messages", "Messages published in Redis", registry=r),
            Counter("feed_redis_lags", "Times too much waited to be published, and bars were read again", registry=r),
        )
        self.outages = Counter("feed_pubsub_outages", "Times the pub/sub connection was lost", registry=r)

    def answered(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def text(
        self,
        looks: Iterable[tuple[Market, View]],
        throttles: Mapping[str, Throttles],
        queue: JobsView | None,
        upkeep: Mapping[str, Upkeep],
        workers: WorkerCounts | None,
        rules: HealthRules,
    ) -> bytes:
        """Everything in the text format; the gauges of symbols and venues are made again, so a removed one is gone."""
        symbols = CollectorRegistry()
        seq = Gauge("fleet_seq", "Commits of a symbol", ["symbol"], registry=symbols)
        refused = Gauge("fleet_trades_refused", "Trades refused, by reason", ["symbol", "reason"], registry=symbols)
        mode = Gauge("fleet_health", "1 for the mode a symbol is in", ["symbol", "mode"], registry=symbols)
        what = "1 for why a symbol is in that mode, where it is told"
        reason = Gauge("fleet_health_reason", what, ["symbol", "reason"], registry=symbols)
        lag = Gauge("fleet_lag_ms", "Time since the last trade was committed", ["symbol"], registry=symbols)
        what = "Closed minutes that their venue has otherwise"
        mismatches = Gauge("fleet_candle_mismatches", what, ["symbol"], registry=symbols)
        what = "Closed minutes that contradict themselves"
        faults = Gauge("fleet_candle_faults", what, ["symbol"], registry=symbols)
        what = "1 while the market of a symbol has no session"
        closed = Gauge("fleet_market_closed", what, ["symbol"], registry=symbols)
        for market, view in looks:
            symbol = market.symbol
            signs = HealthSigns.of(view, market, rules)
            standing = signs.standing
            closed.labels(symbol).set(signs.is_market_closed)
            mode.labels(symbol, standing.mode).set(1)
            if standing.reason:
                reason.labels(symbol, standing.reason).set(1)
            tally = Tally.load(view.health)
            mismatches.labels(symbol).set(tally.mismatches)
            faults.labels(symbol).set(tally.faults)
            if view.state:
                seq.labels(symbol).set(view.state.seq)
                lag.labels(symbol).set(view.server_ms - view.state.updated_ms if view.state.updated_ms else 0)
                for cause, count in view.state.refused.items():
                    refused.labels(symbol, cause).set(count)
        _throttled(symbols, throttles)
        _upkeep(symbols, upkeep)
        if queue:
            _queue(symbols, queue)
        if workers:
            _workers(symbols, workers)
        return generate_latest(self.registry) + generate_latest(symbols)


def _throttled(registry: CollectorRegistry, throttles: Mapping[str, Throttles]) -> None:
    count = Gauge("fleet_venue_throttles", "Refusals for the rate", ["venue", "endpoint"], registry=registry)
    left = Gauge("fleet_venue_cooldown_ms", "For how long nobody asks the venue", ["venue"], registry=registry)
    labels = ["venue", "endpoint", "market"]
    asked = Gauge("fleet_venue_retry_after_ms", "What the last refusal asked for", labels, registry=registry)
    applied = Gauge("fleet_venue_cooldown_applied_ms", "What was made of it", labels, registry=registry)
    for venue, found in throttles.items():
        left.labels(venue).set(found.left_ms)
        for endpoint, times in found.times.items():
            count.labels(venue, endpoint).set(times)
        if found.last:
            named = (venue, str(found.last.get("endpoint", "")), str(found.last.get("market", "")))
            asked.labels(*named).set(found.last.get("retry_after_ms", 0))
            applied.labels(*named).set(found.last.get("cooldown_ms", 0))


def _upkeep(registry: CollectorRegistry, upkeep: Mapping[str, Upkeep]) -> None:
    due = Gauge("fleet_days_due", "Finished days to be rolled up", ["symbol"], registry=registry)
    what = "Sealed days to be archived, of each series; without an archive all there ever were"
    unarchived = Gauge("fleet_days_unarchived", what, ["symbol"], registry=registry)
    what = "Applied trades to be archived; without an archive of trades all there ever were"
    waiting = Gauge("fleet_trades_unarchived", what, ["symbol"], registry=registry)
    damaged = Gauge("fleet_archive_damaged", "Archived objects missing or damaged", ["symbol"], registry=registry)
    for symbol, found in upkeep.items():
        damaged.labels(symbol).set(len(found.faults))
        waiting.labels(symbol).set(found.trades_waiting)
        due.labels(symbol).set(len(found.due))
        unarchived.labels(symbol).set(len(found.unarchived))


def _workers(registry: CollectorRegistry, workers: WorkerCounts) -> None:
    what = "Worker processes that the symbols need, and FLEET_SPARES more"
    Gauge("fleet_workers_wanted", what, registry=registry).set(workers.wanted)
    Gauge("fleet_workers_alive", "Worker processes that give a sign of life", registry=registry).set(workers.alive)
    what = "Symbols that no worker holds, though one should"
    Gauge("fleet_symbols_unassigned", what, registry=registry).set(workers.unassigned)


def _queue(registry: CollectorRegistry, view: JobsView) -> None:
    jobs = Gauge("fleet_jobs", "Jobs of the roll-up queue", ["state"], registry=registry)
    for state, count in (("queued", view.queued), ("running", len(view.running)), ("failed", len(view.failures))):
        jobs.labels(state).set(count)
    Gauge("fleet_rollup_workers", "Roll-up processes alive", registry=registry).set(view.workers)
