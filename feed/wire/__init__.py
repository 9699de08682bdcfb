"""Values to and from bytes.

params           parameters are declared, and read or refused by one function
parameter_types  what kinds of them there are; what can't be understood is refused in one sentence
answers          answers as values, each of which writes itself
profiles         profiles as they are told
messages         the same of a stream's messages
errors           errors as every client sees them
"""
