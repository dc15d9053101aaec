"""What the papers print of classifiers, and the runs that would give their figures."""
