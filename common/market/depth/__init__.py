"""The order book of one market.

book       its levels, and how far it is known
sync       staying in step with the venue, by its rule
recorder   its history, as `runs`: what stood at which price, from when to when
history    the two together
chunk      one minute of that history, and its packed form
"""
