"""HTTP: what listens, and what every request passes.

server           what listens
routes           every one of them, in a list
process          the routes that are about this process
guard            the outermost layer: what is measured and always sent
doors            who may ask
places           requests under way of one address behind a proxy

What one connection may cost, before the application sees anything of it:

connections      how many there are, in all and of one address; what was refused or cut off, counted and told
bounded_http     requests: heads, bodies and pipelines that end
bounded_socket   WebSocket frames: a piece at a time, and none while the client does not read
handshake        a stream's handshake, refused in the form of every other error
unread           answers and messages that no client reads
raw              an answer as bytes, to what is refused before it is a request
"""
