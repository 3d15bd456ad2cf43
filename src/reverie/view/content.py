"""Numbers, texts, pictures and errors as pages get them."""

import io
import json
import sys
import traceback
from typing import Any

import numpy as np
from starlette.responses import JSONResponse

from reverie.errors import is_own, own_notes

SHOWN = 64
"""Entries of a vector that are sent."""


class Json(JSONResponse):
    """JSON in ASCII: names of files need not be valid as UTF-8."""

    def render(self, content: Any) -> bytes:
        """Encodes the content."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def told(error: Exception) -> str:
    """What the page shows of an error: the message of ours alone, of others with their type.

    The traceback of others goes to the terminal.
    """
    if is_own(error):
        return "\n".join([str(error), *own_notes(error)])
    traceback.print_exception(error, file=sys.stderr)
    return f"{type(error).__name__}: {error}. The terminal of `reverie view` shows where."


def number(value: Any) -> float | None:
    """Five digits, which a screen shows; JSON knows no NaN."""
    return float(f"{float(value):.5g}") if np.isfinite(value) else None


def numbers(values: Any) -> list[float | None]:
    """The first entries of an array."""
    return [number(x) for x in np.ravel(values)[:SHOWN]]


def visible(image: np.ndarray) -> np.ndarray:
    """A uint8 image [h, w, c] as people can see it: [h, w] gray, or [h, w, 3].

    Four channels are taken as RGB and one more. Of other frames that are stacked in the channels it
    is the newest.
    """
    channels = image.shape[-1]
    if channels % 3 == 0:
        return image[..., -3:]
    return image[..., :3] if channels == 4 else image[..., -1]


def png(image: np.ndarray) -> bytes:
    """Encodes an image of an agent, without loss."""
    return _encode(image, "PNG", compress_level=1)


def jpeg(image: np.ndarray) -> bytes:
    """Encodes an image for people, which is many times larger."""
    return _encode(image, "JPEG", quality=85)


def decoded(data: bytes) -> np.ndarray:
    """The image [h, w, 3] in a file."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def _encode(image: np.ndarray, format: str, **options: int) -> bytes:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(visible(image))).save(data, format, **options)
    return data.getvalue()
