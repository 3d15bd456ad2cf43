"""The agent: losses, optimizer, acting and reports, as pure functions of explicit state."""
