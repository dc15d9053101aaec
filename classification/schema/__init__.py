"""What each key of pretraining may hold, which keys go together, and which a run would not read."""
