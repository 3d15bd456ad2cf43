"""Functions as programs for devices: traced, compiled ahead, kept between runs."""
