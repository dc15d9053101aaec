"""What the keys of a config may hold, and what --resume may change."""
