"""Where data lies, and what it costs to read it.

history         all minutes of a symbol as one: open, sealed, archived
minutes_part    how open and sealed ones are put together
sealed_days     those of sealed days: fetched by one command, opened in one go
frame_cache     sealed and archived ones as they are read, and the bars made of them
tape            the trades of its stream
trade_archive   the trades before those
depth_minutes   the history of its order book
archived        which objects the archive has of it, and what is wrong with them
coverage        what is known to be complete, and so which bars are partial
bounds          which bars are asked for, on the grid of their timeframe
single_flight   identical questions asked at the same time are answered once
budget          rows, bytes and work of one query
lanes           how many queries of a size are under way at once; which ones are refused
workers         the threads in which they are worked out
memory          how FLEET_MEMORY_MB is shared out
free_memory     what malloc keeps for the next answer
"""
