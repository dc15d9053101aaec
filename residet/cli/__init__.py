"""What a tool needs before it imports anything heavy: its arguments, the names of configs, its exit code."""
