"""What `fleet doctor` looks at."""
