"""Configuration: documented and bounded options, presets, flags and the checks between them."""
