"""Chooses how MuJoCo draws images on a machine without a screen."""

import ctypes
import ctypes.util
import functools
import os
import sys

from reverie.envs.errors import RenderingError

APT = {
    "egl": "apt-get install libegl1 libopengl0 libgl1-mesa-dri",
    "osmesa": "apt-get install libosmesa6",
}

_EGL_PLATFORM_DEVICE = 0x313F
_EGL_OPENGL_BIT, _EGL_RENDERABLE_TYPE = 0x0008, 0x3040
_EGL_PBUFFER_BIT, _EGL_SURFACE_TYPE = 0x0001, 0x3033
_EGL_NONE = 0x3038


def prepare(images: bool) -> str:
    """Sets `MUJOCO_GL` for the first import of MuJoCo, unless the user has set it.

    EGL comes first because it uses a GPU where there is one, then OSMesa, which draws on the
    processor. Call it before importing `dm_control`.

    Args:
        images: Whether images will be drawn at all.

    Returns:
        The value of `MUJOCO_GL`.

    Raises:
        RenderingError: Images are wanted and neither library works.
    """
    chosen = os.environ.get("MUJOCO_GL")
    if chosen is not None and not (images and chosen == "off"):
        return chosen
    works = [name for name, probe in (("egl", egl_works), ("osmesa", osmesa_works)) if probe()]
    if images and not works:
        raise RenderingError(
            f"Images cannot be drawn: neither EGL nor OSMesa works. Install one: {APT['egl']} "
            f"(uses a GPU where there is one) or {APT['osmesa']} (processor). Most "
            "tasks of DM Control can do without images: --env.dmc.image False"
        )
    if images and "dm_control._render" in sys.modules:
        raise RenderingError(
            "MUJOCO_GL=off was set when dm_control was imported, so it cannot draw images in this "
            f"process. Set MUJOCO_GL={works[0]} before starting it."
        )
    # Without a value MuJoCo tries a window system first and warns about the missing display.
    os.environ["MUJOCO_GL"] = works[0] if works else "off"
    return os.environ["MUJOCO_GL"]


@functools.cache
def egl_works() -> bool:
    """Whether EGL finds a device, with or without a GPU, that draws OpenGL off screen."""
    try:
        egl, _ = ctypes.CDLL("libEGL.so.1"), ctypes.CDLL("libOpenGL.so.0")
    except OSError:
        return False
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    egl.eglGetProcAddress.argtypes = [ctypes.c_char_p]
    pointer = ctypes.POINTER(ctypes.c_void_p)
    query = _extension(
        egl,
        b"eglQueryDevicesEXT",
        ctypes.c_int,
        ctypes.c_int,
        pointer,
        ctypes.POINTER(ctypes.c_int),
    )
    display_of = _extension(
        egl,
        b"eglGetPlatformDisplayEXT",
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
    )
    if query is None or display_of is None:
        return False
    devices, found = (ctypes.c_void_p * 16)(), ctypes.c_int()
    if not query(16, devices, ctypes.byref(found)):
        return False
    return any(
        _draws(egl, display_of(_EGL_PLATFORM_DEVICE, device, None))
        for device in devices[: found.value]
    )


@functools.cache
def osmesa_works() -> bool:
    """Whether the OSMesa library is there."""
    try:
        ctypes.CDLL(ctypes.util.find_library("OSMesa") or "libOSMesa.so.8")
    except OSError:
        return False
    return True


def _extension(egl: ctypes.CDLL, name: bytes, result, *arguments):
    address = egl.eglGetProcAddress(name)
    return ctypes.CFUNCTYPE(result, *arguments)(address) if address else None


def _draws(egl: ctypes.CDLL, display: int | None) -> bool:
    """Whether a display starts and offers an off-screen OpenGL configuration."""
    handle = ctypes.c_void_p(display)
    if not display or not egl.eglInitialize(handle, None, None):
        return False
    wanted = (ctypes.c_int * 5)(
        _EGL_SURFACE_TYPE, _EGL_PBUFFER_BIT, _EGL_RENDERABLE_TYPE, _EGL_OPENGL_BIT, _EGL_NONE
    )
    config, found = ctypes.c_void_p(), ctypes.c_int()
    fine = egl.eglChooseConfig(handle, wanted, ctypes.byref(config), 1, ctypes.byref(found))
    return bool(fine) and found.value > 0
