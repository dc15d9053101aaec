"""What the keys of detection may hold, which keys go together, and which keys no run would read."""
