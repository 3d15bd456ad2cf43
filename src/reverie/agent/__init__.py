"""The agent: losses, optimizer, acting and reports, as pure functions of explicit state."""

from reverie.agent.agent import Agent, AgentState, Carry, TrainOut

__all__ = ["Agent", "AgentState", "Carry", "TrainOut"]
