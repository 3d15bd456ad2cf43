"""Ray itself: its package, one that is started here, and a cluster that is there."""
