"""Weights of residet and other libraries: reads files, loads weights into networks, exports files."""
