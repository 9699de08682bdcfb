"""Which release this is. The project's own file says the same, but is not there once it is installed."""

RELEASE = "0.1.0"
