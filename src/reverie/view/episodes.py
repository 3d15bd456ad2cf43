"""The page Episodes: recorded episodes step by step, with what the world model makes of them."""

import base64
import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from reverie.run.saved.folder import RunFolder
from reverie.spaces import Space
from reverie.view.content import Json, number, numbers, png, told
from reverie.view.folders import Folders, ViewError

if TYPE_CHECKING:
    from reverie.view.dream.said import Said, Seen
    from reverie.view.models import Models


def routes(folders: Folders) -> list[BaseRoute]:
    """The routes of the page."""
    page = _Episodes(folders)
    return [Route("/api/episodes", page.listing), Route("/api/episode", page.episode)]


class _Episodes:
    def __init__(self, folders: Folders):
        self._folders = folders

    def listing(self, request: Request) -> Response:
        """The episodes of the last evaluation of a run, and the newest in its saved replay."""
        # jax is imported by who looks at a model, so that the page Runs comes at once.
        from reverie.view.dream.recording import episodes

        found = episodes(RunFolder(self._folders.saved(request.query_params.get("run", ""))))
        return Json([dataclasses.asdict(episode) for episode in found])

    def episode(self, request: Request) -> Response:
        """The steps of an episode, a line of JSON each, as the model gets to them."""
        run, source = (request.query_params.get(key, "") for key in ("run", "source"))
        try:
            serial, begin, end = (int(request.query_params[x]) for x in ("serial", "begin", "end"))
        except (KeyError, ValueError):
            raise ViewError("serial, begin and end are whole numbers.") from None
        lines = self._lines(run, source, serial, begin, end)
        first = next(lines)  # An error before it is answered like any other.

        def stream() -> Iterator[str]:
            yield first
            try:
                yield from lines
            except Exception as error:  # The answer has begun: it ends with what went wrong.
                yield _line({"error": told(error)})

        return StreamingResponse(stream(), media_type="application/x-ndjson")

    @functools.cached_property
    def _models(self) -> "Models":
        from reverie.view.models import Models

        return Models(self._folders)

    def _lines(self, name: str, source: str, serial: int, begin: int, end: int) -> Iterator[str]:
        from reverie.view.dream.recording import Recording
        from reverie.view.dream.said import Chance

        run, model = self._models.load(name)
        obs_space, act_space = model.agent.obs_space, model.agent.act_space
        recording = Recording(run.folder, source, model.agent, serial, begin, observed=1)
        yield _line(
            {
                "step": model.step,
                "discount": 1 - 1 / run.config.agent.horizon,
                "observations": {k: dataclasses.asdict(x) for k, x in obs_space.items()},
                "actions": {k: dataclasses.asdict(x) for k, x in act_space.items()},
            }
        )
        initial = model.initial()
        state, action = recording.before(initial)
        for index in range(end - begin):
            step = recording.step(index)
            done = recording.action(index)
            chance = Chance(0, begin + index)
            state, said, seen = model.observe(state, action, step, chance)
            # In evaluations what has acted; in replay it changes with each update.
            kept = recording.state(index, initial) if source == "evaluation" else None
            if kept is not None:
                state, said = kept, model.tell(kept, chance)
            action = done if done is not None else model.idle()
            flags = {"reward": step.reward, "last": step.is_last, "terminal": step.is_terminal}
            shown = {
                "observed": _arrays(step.obs, obs_space),
                "action": done and _arrays(done, act_space),
            }
            yield _line(flags | shown | _predictions(said, seen, obs_space))
            if done is None:
                break


def _predictions(said: "Said", seen: "Seen", spaces: Mapping[str, Space]) -> dict[str, Any]:
    return {
        "seen": _arrays(said.obs, spaces),
        "value": number(said.value),
        "expected": number(said.reward),
        "continue": number(said.con),
        "entropy": number(said.entropy),
        "surprise": number(seen.surprise),
        "policy": {key: numbers(x) for key, x in said.policy.items()},
    }


def _arrays(values: Mapping[str, np.ndarray], spaces: Mapping[str, Space]) -> dict[str, Any]:
    return {k: _image(x) if spaces[k].kind == "image" else numbers(x) for k, x in values.items()}


def _image(value: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(png(value)).decode()


def _line(content: dict[str, Any]) -> str:
    return json.dumps(content) + "\n"
