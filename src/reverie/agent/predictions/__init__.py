"""What an agent expects and foresees, and how right it is."""
