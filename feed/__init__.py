"""The feed: stateless answers and live streams out of Redis. It never imports workers, and writes nothing there but
that it is there itself, and which symbols are asked for.

app, server, routes/     HTTP: the factory, what listens, one file per group of routes
guard, access, doors     what every request passes: what is measured and always sent, who may ask
web/                     what one connection may cost, before any of that
params, errors, answers  what comes in as text, what goes out as JSON
queries                  the read side as one object: candles, the growing bar, footprints
minutes, tail, tape      where bars come from: stored minutes, what is kept of them here, the kept trades
bars, footprints, cover  bars as frames, footprints, and which of them are partial
changes                  what changed since a cursor
live, series, hub        live bars from commit messages, for everything that somebody listens to
client, opening, stream  one WebSocket client: what waits for it, what it begins with, what it may say
faces/                   the wire formats of others
"""
