"""How options are written: their keys, YAML, and flags of the command."""
