"""What the subcommands of `reverie` do; each imports what it needs when it is called."""
