"""Sinks: the places that metrics go to, made by name with `make_sinks`."""
