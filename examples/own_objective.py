"""A loss of your own with a head of its own: it predicts the reward of the next step.

    PYTHONPATH=examples reverie train --configs debug --task dummy_disc \
        --agent.objectives dynamics reconstruction reward continue actor_critic \
        own_objective:next_reward --agent.extra.next_reward.scale 0.5
"""

from reverie.agent.objectives.base import Loss, Objective
from reverie.nn.functional import f32
from reverie.world.heads import TwoHotHead


def next_reward(spec, scale=1.0, units=32):
    """Makes the objective; `agent.extra.next_reward` holds the keyword arguments."""

    def heads(key):
        head = TwoHotHead(spec.features, layers=1, units=units, bins=255, outscale=0.0, key=key)
        return {"next": head}

    def loss(nets, state, seen, key):
        prediction = nets.heads["next"](seen.features[:, :-1])
        # The step after the last one of an episode belongs to another one.
        goes_on = 1 - seen.data.is_last[:, :-1].astype(f32)
        return Loss({"next": goes_on * prediction.loss(seen.data.reward[:, 1:])})

    return Objective("next_reward", {"next": scale}, loss, heads)
