"""What venues have in common.

base           what every venue gives, in one set of words
live, stall    a socket followed for ever; how long it may be silent
mailbox        where the events of several sockets wait for their reader
one_socket     what venues share that have one REST address and one socket
rest, answers  requests, and pages of their answers
fields         texts to ticks and lots, each checked
budget         what a client asks before each request; `fleet_budget`: shared by all processes
"""
