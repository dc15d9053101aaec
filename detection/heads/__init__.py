"""RoI heads: classify each proposed region and regress its box."""
