"""What happens to WebSocket connections without their doing: pings, time-outs, old age, and faults on command."""

from collections.abc import Iterable

from infra.exchange import wire
from infra.exchange.connection import CLOSE_WITHIN_MS, GOING_AWAY, POLICY, ExchangeConnection
from infra.exchange.faults import Injection, Reset, Shutdown, SocketCut, Stall
from infra.exchange.hub import ExchangeHub
from infra.exchange.streams import SHUTDOWN, combine, text_frame


class SocketKeeper:
    def __init__(self, hub: ExchangeHub) -> None:
        self._hub = hub

    def keep_house(self, now_ms: int) -> None:
        """Look after every connection; called often. `now_ms` is the wall clock's."""
        for connection in self._hub.open:
            if connection.is_stalled and now_ms >= connection.stalled_until_ms:
                connection.resume()
            if connection.is_open:
                self._keep_alive(connection, now_ms)
            elif connection.closing_since_ms and now_ms - connection.closing_since_ms > CLOSE_WITHIN_MS:
                connection.end()
        for injection in self._hub.log.active():
            if isinstance(injection.fault, Stall | Shutdown) and now_ms >= injection.until_ms:
                self._end(injection)

    def inject(self, injection: Injection, event_ms: int) -> None:
        """Have a fault act on connections; `event_ms` is the time a notice carries."""
        number = getattr(injection.fault, "connection", None)
        hit = [each for each in self._hub.open if number in (None, each.number) and each.is_open]
        injection.connections = [connection.number for connection in hit]
        injection.done = True
        match injection.fault:
            case Stall() | Shutdown() as fault if hit:
                self._begin(injection, fault, hit, event_ms)
            case Reset():
                _note_last(injection, hit)
                for connection in hit:
                    self._hub.reset(connection, "reset")
            case SocketCut():
                _note_last(injection, hit)
                for connection in hit:
                    self._hub.close(connection, GOING_AWAY, "", "cut")

    def notify_shutdown(self, connections: Iterable[ExchangeConnection], event_ms: int) -> None:
        """Send the notice the venue sends before it stops."""
        for connection in connections:
            text = wire.shutdown_event(event_ms, connection.unit)
            connection.send(text_frame(combine(SHUTDOWN, text) if connection.combined else text))
            connection.flush()

    def close_all(self) -> None:
        """The exchange stops: also who is stalled is told."""
        for connection in self._hub.open:
            if connection.is_stalled:
                connection.resume()
            self._hub.close(connection, GOING_AWAY, "", "stopped")

    def _keep_alive(self, connection: ExchangeConnection, now_ms: int) -> None:
        rules, unanswered_ms = self._hub.rules, connection.unanswered_since_ms
        if now_ms - connection.opened_ms >= rules.max_age_ms:
            self._hub.close(connection, GOING_AWAY, "", "age")
        elif unanswered_ms and now_ms - unanswered_ms >= rules.pong_within_ms:
            self._hub.close(connection, POLICY, "Pong timeout", "pong")
        elif now_ms - connection.last_ping_ms >= rules.ping_every_ms:
            connection.last_ping_ms = now_ms
            connection.unanswered_since_ms = unanswered_ms or now_ms
            connection.ping(str(now_ms).encode())

    def _begin(
        self, injection: Injection, fault: Stall | Shutdown, hit: list[ExchangeConnection], event_ms: int
    ) -> None:
        """Faults that take time."""
        injection.done = False
        injection.until_ms = injection.wall_ms + (fault.ms if isinstance(fault, Stall) else fault.after_ms)
        if isinstance(fault, Shutdown):
            self.notify_shutdown(hit, event_ms)
            return
        for connection in hit:
            connection.flush()
            connection.stall(injection.until_ms, fault.lose)

    def _end(self, injection: Injection) -> None:
        injection.done = True
        if not isinstance(injection.fault, Shutdown):
            return
        hit = [connection for connection in self._hub.open if connection.number in injection.connections]
        _note_last(injection, hit)
        for connection in hit:
            self._hub.close(connection, GOING_AWAY, "", "shutdown")


def _note_last(injection: Injection, connections: Iterable[ExchangeConnection]) -> None:
    """What follows these trades, the connections don't get."""
    for connection in connections:
        for symbol, (_, last_id) in connection.trade_ids.items():
            injection.touched(symbol, last_id, last_id)
