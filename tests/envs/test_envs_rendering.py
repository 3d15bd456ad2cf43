"""Drawing without a screen, and what is said where it does not work."""

import os
import subprocess
import sys

import numpy as np
import pytest

from reverie.envs.errors import RenderingError
from reverie.envs.registry import make
from reverie.envs.suites._common import rendering


@pytest.fixture
def unset(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)


def with_libraries(monkeypatch, *names):
    monkeypatch.setattr(rendering, "works", lambda library: library in names)


def test_images_really_show_the_task():
    """Draws where a library is installed; elsewhere the error has to name the packages."""
    if not any(map(rendering.works, rendering.APT)):
        with pytest.raises(RenderingError, match="apt-get install"):
            make("dmc_cartpole_balance")
        return
    env = make("dmc_cartpole_balance", {"size": [48, 64]})
    first, _ = env.reset(seed=0)
    assert first["image"].shape == (48, 64, 3)
    assert first["image"].std() > 10
    for _ in range(10):
        later, *_ = env.step({"action": np.ones(1, np.float32)})
    assert (first["image"] != later["image"]).any()
    env.close()


def test_the_quadruped_has_its_own_camera(unset, monkeypatch):
    seen = []
    from dm_control.mujoco import Physics

    def draw(physics, height, width, camera_id):
        seen.append(camera_id)
        return np.zeros((height, width, 3), np.uint8)

    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr(Physics, "render", draw)
    for task, camera in {
        "dmc_quadruped_walk": -1,
        "dmc_walker_walk": -1,
        "dmc_cartpole_balance": 1,
    }.items():
        env = make(task, {"camera": camera, "proprio": False})
        assert list(env.reset()[0]) == ["image"]
        env.close()
    assert seen == [2, 0, 1]


def test_repeating_an_action_draws_once(monkeypatch):
    from dm_control.mujoco import Physics

    seen = []

    def draw(physics, height, width, camera_id):
        seen.append(camera_id)
        return np.zeros((height, width, 3), np.uint8)

    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr(Physics, "render", draw)
    env = make("dmc_cartpole_balance", {"repeat": 5})
    env.reset()
    env.step({"action": np.zeros(1, np.float32)})
    assert len(seen) == 2
    env.close()


def test_egl_comes_before_osmesa(unset, monkeypatch):
    with_libraries(monkeypatch, "egl", "osmesa")
    assert rendering.prepare(images=False) == "egl"
    assert os.environ["MUJOCO_GL"] == "egl"


def test_osmesa_is_next(unset, monkeypatch):
    with_libraries(monkeypatch, "osmesa")
    assert rendering.prepare(images=False) == "osmesa"


def test_without_a_library_images_are_refused_with_the_remedy(unset, monkeypatch):
    with_libraries(monkeypatch)
    with pytest.raises(RenderingError) as error:
        rendering.prepare(images=True)
    for word in ("libegl1", "libosmesa6", "--env.dmc.image False"):
        assert word in str(error.value)


def test_without_a_library_and_without_images_nothing_is_needed(unset, monkeypatch):
    with_libraries(monkeypatch)
    assert rendering.prepare(images=False) == "off"


def test_the_choice_of_the_user_stands(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    assert rendering.prepare(images=True) == "glfw"


@pytest.mark.parametrize("library", ["egl", "osmesa"])
def test_what_the_probe_promises_is_true(library):
    """Draws in a fresh process with each library that the probe finds."""
    code = (
        "from reverie.envs.registry import make\n"
        "env = make('dmc_cartpole_balance')\n"
        "print('mean', env.reset()[0]['image'].mean() > 0)\n"
        "env.close()\n"
    )
    env = {**os.environ, "MUJOCO_GL": library, "PYTHONPATH": os.pathsep.join(sys.path)}
    # The suite sets this for the library that it loaded in this process.
    env.pop("PYOPENGL_PLATFORM", None)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    works = rendering.works(library)
    assert ("mean True" in done.stdout) == works, done.stderr
    assert not works or "Traceback" not in done.stderr


def test_what_cannot_be_loaded_does_not_work():
    assert not rendering.works("nowhere")
