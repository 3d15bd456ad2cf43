"""A Ray that tests of one file share, in a process of its own."""

import pytest

from reverie.actors.cluster.engine.local import local_ray
from reverie.actors.cluster.engine.package import import_ray


@pytest.fixture(scope="module")
def ray_address():
    """One Ray for all that this process does, which uses it and leaves it alone."""
    ray = import_ray()
    with local_ray() as (address, _):
        ray.init(address=address, configure_logging=False, log_to_driver=False)
        yield address
        ray.shutdown()
