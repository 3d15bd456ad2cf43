"""The command that installs optional packages, in one place for all messages."""

UNCONSTRAINED = frozenset(["metaworld", "robotics"])
"""Extras that need other versions than `constraints.txt` has."""


def install(*extras: str) -> str:
    """How extras of this project are installed, in the folder of its clone.

    Never by the project's bare name: an index may hold another package of that name.
    """
    constraints = "" if UNCONSTRAINED & set(extras) else "-c constraints.txt "
    return f"pip install {constraints}-e '.[{','.join(extras)}]'"
