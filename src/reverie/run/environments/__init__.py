"""Where the environments of a run come from, and films of them."""
