"""What a run finds out about its agent while it trains: evaluations and reports."""
