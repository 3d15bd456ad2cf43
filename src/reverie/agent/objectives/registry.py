"""The objectives of an agent, by name or of the user's own."""

from collections.abc import Callable, Mapping, Sequence

from reverie.agent.networks import Spec
from reverie.agent.objectives.actor_critic import make_actor_critic
from reverie.agent.objectives.base import Objective
from reverie.agent.objectives.own import make_own
from reverie.agent.objectives.world import (
    make_continue,
    make_dynamics,
    make_reconstruction,
    make_reward,
)
from reverie.config.named import by_name
from reverie.config.sections.agent import AgentConfig
from reverie.errors import ConfigError

OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "dynamics": make_dynamics,
    "reconstruction": make_reconstruction,
    "reward": make_reward,
    "continue": make_continue,
    "actor_critic": make_actor_critic,
}


def make_objectives(spec: Spec) -> tuple[Objective, ...]:
    """The objectives that `agent.objectives` names.

    Raises:
        ConfigError: If one cannot be made, or two have one name.
    """
    made: dict[str, Objective] = {}
    for entry in spec.config.objectives:
        make = by_name("agent.objectives", entry, OBJECTIVES)
        objective = make(spec) if entry in OBJECTIVES else make_own(entry, make, spec)
        if objective.name in made:
            raise ConfigError(
                f"Two objectives of agent.objectives are named {objective.name!r}, the second one "
                f"is {entry}. Rename one of the two."
            )
        made[objective.name] = objective
    return tuple(made.values())


def loss_scales(objectives: Sequence[Objective], config: AgentConfig) -> dict[str, float]:
    """The scales of all losses by name.

    Raises:
        ConfigError: If two objectives have a loss of one name, or an option of `agent.loss_scales`
            was changed and scales no loss.
    """
    scales: dict[str, float] = {}
    owners: dict[str, str] = {}
    for objective in objectives:
        if twice := sorted(scales.keys() & objective.scales.keys()):
            raise ConfigError(
                f"The objectives {owners[twice[0]]!r} and {objective.name!r} of agent.objectives "
                f"both have the loss {twice[0]!r}. Rename one of the two losses."
            )
        scales |= objective.scales
        owners |= dict.fromkeys(objective.scales, objective.name)
    scaled = {name.partition("/")[0] for name in scales}
    # A part of `rec`, which presets set whatever is observed.
    scaled |= {"vec"} if "rec" in scaled else set()
    for name, field in type(config.loss_scales).model_fields.items():
        value = getattr(config.loss_scales, name)
        if name not in scaled and value != field.default:
            raise ConfigError(
                f"agent.loss_scales.{name} = {value} scales no loss: the objectives "
                f"{', '.join(x.name for x in objectives)} have {', '.join(scales)}. Leave it at "
                f"{field.default}, or add the objective to agent.objectives."
            )
    return scales


def check_heads(objectives: Sequence[Objective], heads: Mapping[str, object]) -> None:
    """Raises ConfigError unless there are the heads that the objectives need, and a policy."""
    needs = [(f"The objective {x.name!r}", head) for x in objectives for head in x.needs]
    for who, head in [*needs, ("The agent", "pol")]:
        if head not in heads:
            raise ConfigError(
                f"{who} needs the head {head!r}, but those of agent.objectives = "
                f"{', '.join(x.name for x in objectives)} bring {', '.join(heads) or 'none'}."
            )
