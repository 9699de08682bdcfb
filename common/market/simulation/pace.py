"""How a simulated market trades: one trade after the other (workers.sources.simulator) or a week at once
(common.frames.simulated).

Prices walk with a volatility that changes slowly; sizes are log-normal with a Pareto tail; trades come in quiet
stretches and bursts, as a Poisson process whose rate switches.
"""

# Mean trades per second in quiet times and in bursts, and mean lengths of both in seconds.
QUIET_RATE, BURST_RATE = 3.0, 120.0
QUIET_S, BURST_S = 25.0, 0.8
# A usual step of the price is that share of it, or a tick. The volatility multiplies it: with each burst it is another,
# by a log-normal factor, within bounds.
STEP = 2e-5
MIN_VOLATILITY, MAX_VOLATILITY, VOLATILITY_SIGMA = 0.3, 8.0, 0.3
# Sizes, in hundredths: mostly small, one in fifty from a Pareto tail.
SIZE_DECIMALS = 2
SIZE_MU, SIZE_SIGMA = 1.0, 1.2
TAIL_SHARE, TAIL_ALPHA = 0.02, 1.3
MAX_SIZE = 1e6
