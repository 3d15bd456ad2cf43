"""For all tests: the model code checks the shapes and types of its arrays while it runs.

The hook has to be in place before the checked packages are imported for the first time; pytest
loads this file before any test module.
"""

import jax
import jaxtyping

CHECKED = ["reverie.nn", "reverie.world", "reverie.agent"]

jaxtyping.install_import_hook(CHECKED, "beartype.beartype")
# Arrays of different rank broadcast silently otherwise, which hides a missing axis.
jax.config.update("jax_numpy_rank_promotion", "raise")
