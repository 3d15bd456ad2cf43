"""The classes of options: those of the agent, the environments, the devices and the actors."""
