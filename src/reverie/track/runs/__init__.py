"""What the folders of runs tell: their state, their curves side by side, published ones."""
