"""What one query may read, where that is worked out, and what all of them may hold together.

budget     rows, bytes and work of one query
lanes      how many queries of a size are under way at once; who is refused
workers    the threads in which they are worked out
memory     how FLEET_MEMORY_MB is shared out
"""
