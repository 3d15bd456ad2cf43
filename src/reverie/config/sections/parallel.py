"""Options of script parallel."""

from typing import Literal

from reverie.config.sections.devices import Platform
from reverie.options import Float, Int, Section, Text, option


class RayConfig(Section):
    """Actors in processes of their own, for script parallel."""

    address: Text = option(
        "",
        "Ray cluster to run in: HOST:PORT, or auto for that of this machine; empty: a local Ray "
        "for this run.",
    )
    actors: Int = option(
        2, "Actors, each with `run.envs` environments and a policy.", ge=1, le=4096
    )
    cpus: Float = option(1.0, "Cores that an actor reserves in a cluster.", ge=0)
    chunk: Int = option(
        16, "Steps of each environment that an actor hands over at once.", ge=1, le=4096
    )
    push_every: Int = option(10, "Updates between two sets of parameters for the actors.", ge=1)
    inference: Literal["actor", "server"] = option(
        "actor",
        "Who chooses actions: each actor on its own core, or for all of them a process on the node "
        "of the learner.",
    )
    inference_platform: Platform = option(
        "auto", "Backend of the inference server; auto: that of `jax.platform`."
    )
    inference_device: Int = option(0, "Device of the inference server.", ge=0)
    replay_shards: Int = option(
        0,
        "Processes that replay is spread over, each with its share of the streams and of "
        "`replay.size`; 0: replay is in the process that trains.",
        fixed="a shard goes on with the streams that it has saved, so keep the saved number",
        ge=0,
        le=64,
    )
    eval_actors: Int = option(
        0, "Actors that play evaluations every `run.eval_every` seconds, beside training.", ge=0
    )
