"""What runs the fleet on one machine: embedded store, launcher, commands. Only tests import it."""
