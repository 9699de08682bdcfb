"""Values to and from bytes.

params    query parameters as values; what can't be understood is refused in one sentence
answers   values of an answer, and its JSON, put together from parts that are JSON already
messages  the same of a stream's messages
errors    errors as every client sees them
"""
