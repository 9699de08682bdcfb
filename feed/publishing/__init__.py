"""Subscribers of Redis: what nobody else publishes is published while somebody listens to it by name, by one feed.

wishes       what is listened to, by the names of channels
bars         bars as they are published, and the newest one as a key has it
publication  one channel: how far it has been told, and its newest value
symbol       all channels of one symbol, for as long as the right to publish it is ours
publisher    looks at who listens, and takes, keeps and gives up those rights
"""
