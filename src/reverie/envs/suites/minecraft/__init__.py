"""Minecraft, through MineRL."""
