"""Actors in processes of their own, on this machine or on many: Ray places and restarts them."""
