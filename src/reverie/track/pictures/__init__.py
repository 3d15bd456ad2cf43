"""Numbers and predictions of a run, drawn."""
