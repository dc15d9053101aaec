"""What the keys of a config may hold, which keys no run would read, and what --resume may change."""
