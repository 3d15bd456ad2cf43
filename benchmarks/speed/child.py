"""The measured process: `python child.py SPECIFICATION`, see `processes.py`."""

import json
import pathlib
import sys

from cases import PolicyCase, TrainCase
from machine import bind_to_one_core


def main(specification: str) -> None:
    """Measures one row and writes the record as JSON.

    Args:
        specification: JSON object with `kind` (`train`, `first_update`, `product` or `policy`),
            `case` (the fields of the case), `scratch` (a folder) and `output` (the file to write).
    """
    spec = json.loads(specification)
    scratch = pathlib.Path(spec["scratch"])
    fields = {**spec["case"], "words": tuple(spec["case"]["words"])}
    if spec["kind"] == "policy":
        core = bind_to_one_core()
        from policy_call import measure_policy_calls

        record = {"core": core, **measure_policy_calls(PolicyCase(**fields), scratch)}
    else:
        import train_step

        measures = {
            "train": train_step.measure_train_step,
            "first_update": train_step.measure_first_update,
            "product": train_step.measure_product,
        }
        record = measures[spec["kind"]](TrainCase(**fields), scratch)
    pathlib.Path(spec["output"]).write_text(json.dumps(record))


if __name__ == "__main__":
    main(sys.argv[1])
