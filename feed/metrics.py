"""What the feed counts, for Prometheus. One registry per application: tests run several in one process."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from common.store.health import mode_of
from common.store.reads import View

# An answer out of a tail takes 1 ms, a year read anew some 300 ms.
LATENCY_BUCKETS_S = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048)


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
        self.dropped = Counter("feed_ws_clients_dropped", "Clients closed because they did not read", registry=r)
        self.commits = Counter("feed_commits_received", "Commit messages received", registry=r)
        self.resyncs = Counter("feed_resyncs", "Times live bars were read again", ["why"], registry=r)
        self.outages = Counter("feed_pubsub_outages", "Times the pub/sub connection was lost", registry=r)

    def answered(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self, views: Iterable[tuple[str, View]], lease_ttl_ms: int) -> bytes:
        """Everything in the text format; the symbols' gauges are made anew, so a removed symbol is gone."""
        symbols = CollectorRegistry()
        seq = Gauge("fleet_seq", "Commits of a symbol", ["symbol"], registry=symbols)
        refused = Gauge("fleet_trades_refused", "Trades refused, by reason", ["symbol", "reason"], registry=symbols)
        mode = Gauge("fleet_health", "1 for the mode a symbol is in", ["symbol", "mode"], registry=symbols)
        lag = Gauge("fleet_lag_ms", "Time since the last trade was committed", ["symbol"], registry=symbols)
        for symbol, view in views:
            mode.labels(symbol, mode_of(view, lease_ttl_ms)).set(1)
            if view.state:
                seq.labels(symbol).set(view.state.seq)
                lag.labels(symbol).set(view.server_ms - view.state.updated_ms if view.state.updated_ms else 0)
                for reason, count in view.state.refused.items():
                    refused.labels(symbol, reason).set(count)
        return generate_latest(self.registry) + generate_latest(symbols)
