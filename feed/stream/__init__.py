"""What goes on: bars, order flow and trades, as they change.

session   `WS /v1/stream`: what a client may say, and what it is answered
requests  what such a message takes, whatever the channel
client    one client: what waits for it, and the task that sends it
opening   what a subscription begins with
hub       all clients of this process: one connection for pub/sub, one channel of it per symbol in use
series    one topic of one symbol that clients listen to
topic     a channel and what it was asked with
channels  what can be listened to, a file a channel
rate      a bucket of events that fills with time
"""
