"""Where runs happen: one run from start to stored, and all runs of a plan one after the other."""
