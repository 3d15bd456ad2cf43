"""What a run leaves in its folder, and what another run takes from there."""
