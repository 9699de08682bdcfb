"""The feed: stateless answers and live streams out of Redis. It never imports workers, and writes nothing there but
that it is there itself, which symbols are asked for, and what subscribers of Redis listen to.

Each room imports those below it only:

app, __main__   the factory: what there is, wired together once
web/            what listens, the routes, what every request passes, what one connection may cost before any of that
publishing/     timeframes that subscribers of Redis listen to, published by one feed
stream/         live bars, and one client of `WS /v1/stream`
queries/        questions in, answers out, each true of one commit
wire/           what comes in as text and goes out as JSON: parameters, answers, errors
bars/           any timeframe out of days, minutes or trades: as frames, as kept JSON, live, and what changed
reading/        where minutes, trades, late parts and the archive lie; what is known to be complete; what one query may
cost

access, metrics, services: what several rooms are handed.
"""
