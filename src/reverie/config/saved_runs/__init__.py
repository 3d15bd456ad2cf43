"""Options that other runs left in their folders: read as data, compared with those of a resume."""
