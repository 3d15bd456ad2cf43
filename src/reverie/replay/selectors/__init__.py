"""What chooses the sequences that are drawn."""
