"""Networks side by side: the runs of a comparison, their figures, and the intervals of the figures and differences."""
