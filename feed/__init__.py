"""The feed: stateless answers and live streams out of Redis. It never writes, and never imports workers.

    app, server, routes/     HTTP: the factory, what listens, one file per group of routes
    params, errors, answers  what comes in as text, what goes out as JSON
    queries                  the read side as one object: candles, the growing bar, footprints, changes since a cursor
    minutes, tail, tape      where bars come from: stored minutes, what is kept of them here, the kept trades
    changes                  what changed since a cursor
    live, hub, pubsub        live bars from commit messages, one pub/sub connection per process
    client, stream           one WebSocket client: what waits for it, and what it may say
    faces/                   the wire formats of others
"""
