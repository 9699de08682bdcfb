"""What the feed answers over HTTP, one file per group. Each offers `routes`."""
