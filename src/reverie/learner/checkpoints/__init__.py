"""Arrays by name in files: checkpoints, those of others too."""
