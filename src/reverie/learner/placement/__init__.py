"""Which devices and processes compute, and how the agent's state lies on them."""
