"""The roll-up queue: its processes, its jobs, and what the jobs do."""
