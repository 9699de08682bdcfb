"""Live bars.

session   `WS /v1/stream`: what a client may say, and what it is answered
requests  what such a message takes
client    one client: what waits for it, and the task that sends it
opening   what a subscription begins with
hub       all clients of this process: one connection for pub/sub, one channel per symbol in use
series    one symbol and timeframe that clients listen to
rate      a bucket of events that fills with time
"""
