"""What the agent learns: each objective has losses, their scales, and the heads that it needs."""
