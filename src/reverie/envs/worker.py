"""What runs inside an environment process: one environment, driven over a connection."""

import contextlib
import os
import pickle
import random
import socket
import traceback
from typing import Any

import cloudpickle
import gymnasium
import numpy as np

from reverie.envs import shared, wire
from reverie.envs.errors import raised
from reverie.envs.logs import OnlyLogs
from reverie.envs.probe import probe
from reverie.envs.wrappers import wrap

ACTION, OBSERVATION, OUTCOME = "action:", "observation:", "outcome"
"""Names in shared memory: prefixes of the keys, and (reward, terminated, truncated) as float64."""


def main(fd: int) -> None:
    """Serves one environment until the parent closes it or disappears."""
    # When the parent has ended, there is nobody left who could be told.
    with contextlib.suppress(wire.Gone), socket.socket(fileno=fd) as sock:
        _report(sock)


def _report(sock: socket.socket) -> None:
    """Runs the environment and sends the traceback of whatever it raises."""
    env = None
    try:
        env = _load(sock)
        try:
            _serve(sock, env, _attach(sock))
        finally:
            env.close()
    except wire.Gone:
        raise
    except Exception as error:
        summary = raised(error, env.steps if env else 0)
        wire.send_object(sock, wire.RAISED, (summary, traceback.format_exc()))


def _load(sock: socket.socket) -> OnlyLogs:
    """Builds the environment and tells the parent its spaces."""
    wire.receive(sock.fileno())
    pickled, seed = wire.receive_object(sock.fileno())
    # Forked siblings share the state of the global generators until they are seeded apart.
    random.seed(seed)
    np.random.seed(seed)
    env = OnlyLogs(wrap(pickle.loads(pickled)()))
    # Spaces of the user's own may be of classes that travel by cloudpickle alone.
    seen = cloudpickle.dumps(probe(env))
    wire.send_object(sock, wire.SPACES, (env.observation_space, env.action_space, seen))
    return env


def _attach(sock: socket.socket) -> dict[str, np.ndarray]:
    """The arrays of this environment in the shared memory that the parent sends."""
    tag, fds, _, _ = socket.recv_fds(sock, 1, 1)
    if not tag:
        raise wire.Gone
    layout, index = wire.receive_object(sock.fileno())
    arrays = shared.attach(fds[0], layout)
    os.close(fds[0])
    # Slices with `...` stay views even where one entry is a scalar.
    return {name: array[index, ...] for name, array in arrays.items()}


def _serve(sock: socket.socket, env: gymnasium.Env, arrays: dict[str, np.ndarray]) -> None:
    """The loop: reset and step on request, NEXT_STEP autoreset, results in shared memory."""
    fd = sock.fileno()
    actions = list(_part(arrays, ACTION).items())
    observations = list(_part(arrays, OBSERVATION).items())
    outcome, over = arrays[OUTCOME], False
    while (tag := wire.receive(fd)) != wire.CLOSE:
        reward, terminated, truncated = 0.0, False, False
        if tag == wire.RESET:
            (seed,) = wire.SEED.unpack(wire.receive(fd, wire.SEED.size))
            obs, logs = env.reset(seed=None if seed < 0 else seed)
        elif over:
            obs, logs = env.reset()
        else:
            # Copies (numpy scalars of single numbers), because an environment may keep its action
            # while this memory moves on.
            action = {key: array.copy()[()] for key, array in actions}
            obs, reward, terminated, truncated, logs = env.step(action)
        over = terminated or truncated
        for key, array in observations:
            array[...] = obs[key]
        outcome[:] = reward, terminated, truncated
        if logs:
            wire.send_object(sock, wire.LOGS, logs)
        else:
            wire.send(sock, wire.DONE)


def _part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
