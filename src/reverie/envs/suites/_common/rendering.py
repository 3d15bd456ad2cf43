"""Chooses how MuJoCo draws images on a machine without a screen."""

import functools
import os
import subprocess
import sys

from reverie.envs.errors import RenderingError

APT = {
    "egl": "apt-get install libegl1 libopengl0 libgl1-mesa-dri",
    "osmesa": "apt-get install libosmesa6",
}


def prepare(images: bool) -> str:
    """Sets `MUJOCO_GL` for the first import of MuJoCo, unless the user has set it; gives its value.

    EGL comes first because it uses a GPU where there is one, then OSMesa, which draws on the
    processor. Call it before importing `dm_control`.

    Raises:
        RenderingError: Images are wanted and neither library works.
    """
    chosen = os.environ.get("MUJOCO_GL")
    if chosen is not None and not (images and chosen == "off"):
        return chosen
    found = next((library for library in APT if works(library)), "off")
    if images and found == "off":
        raise RenderingError(
            f"Images cannot be drawn: neither EGL nor OSMesa works. Install one: {APT['egl']} "
            f"(uses a GPU where there is one) or {APT['osmesa']} (processor). Most "
            "tasks of DM Control can do without images: --env.dmc.image False"
        )
    if images and "dm_control._render" in sys.modules:
        raise RenderingError(
            "MUJOCO_GL=off was set when dm_control was imported, so it cannot draw images in this "
            f"process. Set MUJOCO_GL={found} before starting it."
        )
    # Without a value MuJoCo tries a window system first and warns about the missing display.
    os.environ["MUJOCO_GL"] = found
    return found


@functools.cache
def works(library: str) -> bool:
    """Whether MuJoCo can draw with `egl` or `osmesa`, by trying it in another process.

    Whoever has loaded one of them in this process cannot turn to the other any more.
    """
    code = (
        f"from mujoco.{library} import GLContext; context = GLContext(8, 8); "
        "context.make_current(); context.free()"
    )
    environ = {**os.environ, "PYOPENGL_PLATFORM": library}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True)
    return done.returncode == 0
