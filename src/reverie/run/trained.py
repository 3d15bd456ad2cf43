"""A trained agent, for raw observations and actions."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NoReturn

import gymnasium
import numpy as np
from gymnasium.vector import utils as vector_spaces

from reverie.config.schema import Config
from reverie.envs import errors
from reverie.envs.flat.convert import short
from reverie.envs.flat.converter import Converter
from reverie.envs.vector.vector import VectorEnv
from reverie.learner.placement.devices import require_own_process
from reverie.learner.policy import Policy
from reverie.run.environments import custom, film
from reverie.run.environments.source import EnvSource
from reverie.run.parts import build
from reverie.run.saved.result import Evaluation
from reverie.spaces import Space

_AROUND = (
    "A run with env.gym.wrappers, or with action masks in the info, takes the observations of "
    "agent.make_env(): of the environment inside of those wrappers, and of MaskFromInfo of "
    "reverie.envs.flat.masks."
)

_MANY = (
    "Observations of many environments at once need is_first, which of them begin an episode: "
    "agent.policy(obs, state, is_first=first)."
)


@dataclasses.dataclass(frozen=True)
class PolicyState:
    """What the agent remembers between two calls of `TrainedAgent.policy`; opaque."""

    carry: Any
    count: int = 1


class TrainedAgent:
    """Acts in an environment as it is, without Reverie's wrappers.

    Use `reverie.load` to make one.

    Example:
        >>> agent = reverie.load("~/logdir/cartpole")
        >>> env = agent.make_env()
        >>> obs, info = env.reset()
        >>> state = None
        >>> while True:
        ...     action, state = agent.policy(obs, state)
        ...     obs, reward, terminated, truncated, info = env.step(action)
        ...     if terminated or truncated:
        ...         break

    Args:
        policy: Chooses the actions.
        config: Configuration of the run, with the folder in which it lies.
        converter: Translates observations and actions.
        step: Environment steps at which the parameters were saved.
        permitted: Raises where the environment of the run must not be made.
    """

    def __init__(
        self,
        policy: Policy,
        config: Config,
        converter: Converter,
        step: int,
        permitted: Callable[[], None] = lambda: None,
    ):
        self._policy = policy
        self._config = config
        self._converter = converter
        self._permitted = permitted
        self._evaluations = 0
        self.step = step

    @property
    def task(self) -> str:
        """Task that the agent was trained on."""
        return self._config.task

    def make_env(self) -> gymnasium.Env:
        """The environment of the run with the settings of the run, without Reverie's wrappers.

        Raises:
            ConfigError: If the agent was trained on an environment that was passed from Python, or
                the folder was made elsewhere and its environment is code that it names.
        """
        self._permitted()
        return EnvSource(self.task, self._config.env).make()

    def policy(
        self,
        obs: Any,
        state: PolicyState | None = None,
        mode: Literal["train", "eval"] = "eval",
        *,
        is_first: Sequence[bool] | np.ndarray | bool | None = None,
    ) -> tuple[Any, PolicyState]:
        """Chooses an action for one observation, or actions for those of many environments.

        Args:
            obs: An observation as the environment returns it; with several `is_first` those of N
                environments, as a vector environment of gymnasium returns them.
            state: From the previous call in this episode; None at the start of an episode, and of
                all environments.
            mode: `eval` takes the most likely action, `train` samples as in training.
            is_first: Whether an episode begins with this observation; for N environments in which.

        Returns:
            An action as the environment takes it, or those that a vector environment takes; and
            the state for the next call.

        Raises:
            ValueMismatchError: If the observation does not fit the space of the run.
            ValueError: If the mode, the state or the number of environments is something else.
        """
        require_own_process()
        if mode not in ("train", "eval"):
            raise ValueError(f"The mode is {mode!r}: expected 'train' or 'eval'.")
        if not isinstance(state, PolicyState | None):
            raise ValueError(
                f"The state is a {type(state).__name__}: expected what the previous call of "
                "policy returned beside the action, or None at the start of an episode."
            )
        first = np.array(is_first, bool)
        if first.ndim > 1 or not first.size:
            raise ValueError(
                f"is_first has the shape {first.shape}: expected True or False, or one of them for "
                "each of the environments."
            )
        converter, many, first = self._converter, first.ndim > 0, np.atleast_1d(first)
        try:
            rows = self._rows(obs, len(first)) if many else [obs]
            seen = [converter.observation(row) for row in rows]
        except errors.ValueMismatchError as error:
            if converter.masked or self._config.env.gym.wrappers:
                error.add_note(_AROUND)
            elif not many and self._of_many(obs):
                error.add_note(_MANY)
            raise
        if state is None:
            state, first[:] = PolicyState(self._policy.init(len(first)), len(first)), True
        if state.count != len(first):
            raise ValueError(f"The state is one of {state.count} environments, not {len(first)}.")
        batch = {key: np.stack([each[key] for each in seen]) for key in seen[0]}
        carry, flat, _ = self._policy.act(state.carry, {**batch, "is_first": first}, mode)
        actions = [
            converter.action({key: value[row] for key, value in flat.items()})
            for row in range(len(first))
        ]
        if not many:
            return actions[0], PolicyState(carry)
        empty = vector_spaces.create_empty_array(converter.native_act, len(first))
        joined = vector_spaces.concatenate(converter.native_act, actions, empty)
        return joined, PolicyState(carry, len(first))

    def __repr__(self) -> str:
        converter, folder = self._converter, self._config.logdir
        return (
            f"<{type(self).__name__} of {self.task} after {self.step:,} steps from {folder}: "
            f"observations {converter.native_obs}, actions {converter.native_act}>"
        )

    def __reduce__(self) -> NoReturn:
        folder = os.fspath(self._config.logdir)
        raise TypeError(
            "A trained agent can be neither pickled nor copied: its programs belong to this "
            f"process. Call reverie.load({folder!r}) where another one is needed."
        )

    def evaluate(
        self,
        env: custom.EnvLike | None = None,
        episodes: int = 10,
        *,
        seed: int | None = None,
        deterministic: bool = True,
        video: bool | str | os.PathLike[str] | None = False,
    ) -> Evaluation:
        """Plays whole episodes and returns their scores.

        Args:
            env: A task, a gymnasium id, an environment, its class or a factory; by default the
                task that the agent was trained on.
            episodes: Number of episodes.
            seed: Decides which episodes are played, as far as the environment follows its seeds.
                By default every call plays other ones, in the same order each time that the
                agent is loaded.
            deterministic: Whether to take the most likely actions; else they are drawn, as in
                training.
            video: Films the episodes, one after the other, with the reward and what the agent
                expects below them: True into the run folder, as `evaluation.mp4` (`.gif` where the
                extra `video` is not installed), or a path, with or without that extension.

        Raises:
            SpaceError: If the environment has other spaces than the agent was trained with.
            ValueError: If the number of episodes or the seed is none.
            FilmingError: If it has no image to film: no image observation, and no render mode
                `rgb_array`.
        """
        require_own_process()
        if not isinstance(episodes, int | np.integer) or episodes < 1:
            raise ValueError(f"The number of episodes is {episodes!r}: expected 1 or more.")
        config, settings = self._config, self._config.run
        if seed is None:
            # Of a kind of its own: the episodes of evaluations in training were others.
            seed = build.eval_seed(build.eval_seed(config.seed), self._evaluations)
            self._evaluations += 1
        elif not isinstance(seed, int | np.integer) or seed < 0:
            raise ValueError(f"The seed is {seed!r}: expected None, or 0 or more.")
        if env is None or env == self.make_env:  # A name goes to processes, an agent does not.
            self._permitted()
            source = EnvSource(config.task, config.env)
        else:
            source = dataclasses.replace(custom.resolve(env), config=config.env)
            limits = {"env_backend": "auto"} if settings.env_backend == "native" else {}
            settings = settings.model_copy(update={**limits, **source.limits})
        mode = "eval" if deterministic else "train"
        self._policy.restore({f"{mode}_calls": 0})  # So that equal seeds repeat.
        path = None
        if video:
            folder = pathlib.Path(config.logdir)
            path = folder / "evaluation" if video is True else pathlib.Path(video)
            source = dataclasses.replace(source.resolved(config), filmed=True)
            settings = settings.model_copy(update={"eval_envs": 1})
        with build.vector_env(source, settings, config.seed, episodes) as vector:
            self._check(vector)
            how = {"seed": seed, "mode": mode}
            fps = source.fps(config.logger.fps)
            return film.film_episodes(self._policy, vector, episodes, path, fps, **how)[0]

    def _rows(self, obs: Any, count: int) -> list[Any]:
        """The observations of many environments one by one."""
        batched = vector_spaces.batch_space(self._converter.native_obs, count)
        try:
            rows = list(vector_spaces.iterate(batched, obs))
        except Exception as error:  # It fails in many ways at what is of another form.
            raise self._converter.error(
                f"the observations are {short(obs)}. Those of {count} environments are expected "
                f"as a vector environment of gymnasium returns them, in {batched}."
            ) from error
        if len(rows) != count:
            raise ValueError(f"There are {len(rows)} observations and {count} of is_first.")
        return rows

    def _of_many(self, obs: Any) -> bool:
        """Whether these are observations of several environments."""
        entry = obs
        while isinstance(entry, Mapping | tuple) and entry:
            entry = next(iter(entry.values() if isinstance(entry, Mapping) else entry))
        try:
            return all(map(self._converter.observation, self._rows(obs, len(entry))))
        except (TypeError, ValueError):
            return False

    def _check(self, vector: VectorEnv) -> None:
        both = zip(
            ("observations", "actions"),
            self._converter.spaces,
            (vector.obs_space, vector.act_space),
            strict=True,
        )
        for what, expected, found in both:
            if expected != found:
                raise errors.SpaceError(
                    f"The agent was trained with the {what} {_describe(expected)}, the environment "
                    f"has {_describe(found)}. Pass one like that of its training, {self.task}."
                )


def _describe(spaces: Mapping[str, Space]) -> str:
    """Spaces by key in few words: `obs: continuous (4,)`, `action: discrete () of 2`."""
    parts = []
    for key, space in spaces.items():
        of = f" of {', '.join(map(str, space.classes[:8]))}" if space.classes else ""
        parts.append(f"{key}: {space.kind} {space.shape}{of}")
    return f"({'; '.join(parts)})"
