"""What one query may read, and where that is worked out.

budget     rows, bytes and work of one query
workers    the threads in which they are worked out
"""
