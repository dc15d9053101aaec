"""Files of weights, ours and other libraries': reading, loading into networks, exporting."""
