"""Dreams: a world model that a person or its policy drives, one step at a time."""
