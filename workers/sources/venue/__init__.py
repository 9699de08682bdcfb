"""A venue as a source.

source      its live trades at once, and behind them what is missing
following   the market by its stream, or slowly by REST; live_trades: what came waits here
backfill    what is missing, job by job: backfill_by_id, backfill_by_time; batch_queue: what was fetched waits here
checks      the newest closed minute against the venue's own candle
book        its order book, kept in step and recorded
relisting   a market that the venue lists otherwise from now on
"""
