"""What one connection may cost, before the application sees anything of it.

connections      how many there are, in all and of one address; what was refused or cut off, counted and told
bounded_http     requests: heads, bodies and pipelines that end
bounded_socket   WebSocket frames: a piece at a time, and none while the client does not read
rate             a bucket of events that fills with time
"""
