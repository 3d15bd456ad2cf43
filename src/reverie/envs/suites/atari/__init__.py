"""Atari 2600 games of the Arcade Learning Environment, under two protocols."""
