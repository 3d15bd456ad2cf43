"""Who makes rollouts: collectors, and evaluations of what acts."""
