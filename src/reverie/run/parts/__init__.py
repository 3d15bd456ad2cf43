"""What a run is made of: its state, how it is built, wired, restored and started."""
