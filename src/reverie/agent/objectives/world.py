"""Objectives of the world model on replayed sequences (paper equations 4 and 5)."""

from reverie.agent.networks import Spec
from reverie.agent.objectives.base import Loss, Objective
from reverie.agent.sequences import flat_samples
from reverie.nn.functional import f32, sg
from reverie.world.decoder import SimpleDecoder
from reverie.world.heads import ContinueHead, TwoHotHead
from reverie.world.rssm import entropy


def make_dynamics(spec: Spec) -> Objective:
    """KL between the prior and the posterior, for each of the two."""
    scales = spec.config.loss_scales

    def loss(nets, state, seen, key):
        prior = nets.dyn.prior(seen.post.deter)
        dyn, rep = nets.dyn.kl_losses(seen.post.logits, prior)
        metrics = {"dyn_ent": entropy(prior).mean(), "rep_ent": entropy(seen.post.logits).mean()}
        return Loss({"dyn": dyn, "rep": rep}, metrics=metrics)

    return Objective("dynamics", {"dyn": scales.dyn, "rep": scales.rep}, loss, model=True)


def make_reconstruction(spec: Spec) -> Objective:
    """Every observation key, predicted by the decoder."""
    config = spec.config

    def heads(key):
        options = config.dec.simple.model_dump()
        return {
            "dec": SimpleDecoder(spec.obs_space, config.dyn.deter, spec.stoch, **options, key=key)
        }

    def loss(nets, state, seen, key):
        predictions = nets.heads["dec"](seen.post.deter, flat_samples(seen.post))
        return Loss({f"rec/{k}": x.loss(seen.data.obs[k]) for k, x in predictions.items()})

    scales = {
        f"rec/{name}": config.loss_scales.rec
        * (config.loss_scales.vec if space.kind == "continuous" else 1.0)
        for name, space in spec.obs_space.items()
    }
    return Objective("reconstruction", scales, loss, heads, model=True)


def make_reward(spec: Spec) -> Objective:
    """The reward on the way into each step; with `reward_grad` it shapes the representation."""
    config = spec.config

    def heads(key):
        return {"rew": TwoHotHead(spec.features, **config.rewhead.model_dump(), key=key)}

    def loss(nets, state, seen, key):
        features = seen.features if config.reward_grad else sg(seen.features)
        return Loss({"rew": nets.heads["rew"](features).loss(seen.data.reward)})

    return Objective("reward", {"rew": config.loss_scales.rew}, loss, heads, model=True)


def make_continue(spec: Spec) -> Objective:
    """Whether the episode goes on; with `contdisc` times the discount `1 - 1 / horizon`."""
    config = spec.config

    def heads(key):
        return {"con": ContinueHead(spec.features, **config.conhead.model_dump(), key=key)}

    def loss(nets, state, seen, key):
        target = 1 - seen.data.is_terminal.astype(f32)
        target = target * (1 - 1 / config.horizon) if config.contdisc else target
        return Loss({"con": nets.heads["con"](seen.features).loss(target)})

    return Objective("continue", {"con": config.loss_scales.con}, loss, heads, model=True)
