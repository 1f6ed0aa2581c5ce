"""What needs no MongoDB, no browser and no process of the command: quick to run while you work."""
