"""How often episodes reach what there is to reach, and the score of Crafter made of it.

Hafner, "Benchmarking the Spectrum of Agent Capabilities" (arXiv 2109.06780).
"""

import math
from collections.abc import Mapping
from typing import Any

from reverie.spaces import LOG_PREFIX

_BEFORE, _AFTER = f"epstats/{LOG_PREFIX}achievement_", "/max"


class Achievements:
    """Success rates over episodes.

    An environment that reports `log/achievement_<name>` has achievements: one counts as reached
    in an episode when its value was above 0 at some step. Nothing else has to be declared.

    Args:
        episodes: Number of episodes that were counted before.
        reached: In how many of them each achievement was reached.
    """

    def __init__(self, episodes: int = 0, reached: Mapping[str, int] | None = None):
        self._episodes = episodes
        self._reached = dict(reached or {})

    def add(self, record: Mapping[str, Any]) -> None:
        """Counts an episode.

        Args:
            record: What `EpisodeStats` made of it, with the reduction `max`.
        """
        self._episodes += 1
        for key, value in record.items():
            if key.startswith(_BEFORE) and key.endswith(_AFTER):
                name = key[len(_BEFORE) : -len(_AFTER)]
                self._reached[name] = self._reached.get(name, 0) + int(value > 0)

    def metrics(self) -> dict[str, float]:
        """`achievement/rate/<name>` and `achievement/score`, all in percent.

        The score is `exp(mean(log(1 + rate))) - 1`, a geometric mean in which rare achievements
        count as much as easy ones. Empty where there are no achievements.
        """
        if not self._reached:
            return {}
        rates = {name: 100 * count / self._episodes for name, count in self._reached.items()}
        logs = [math.log1p(rate) for rate in rates.values()]
        metrics = {f"achievement/rate/{name}": rate for name, rate in rates.items()}
        return {"achievement/score": math.expm1(sum(logs) / len(logs)), **metrics}

    def save(self) -> dict[str, Any]:
        """The arguments of the constructor, as plain values."""
        return {"episodes": self._episodes, "reached": dict(self._reached)}
