"""Values to and from bytes.

params    query parameters as values; what can't be understood is refused in one sentence
answers   the JSON of an answer, put together from parts that are JSON already
errors    errors as every client sees them
"""
