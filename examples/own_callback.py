"""Something of your own in the training loop: here a metric now and then, and a count of steps.

python examples/own_callback.py
"""

import reverie


def log_ratio(run):
    """Adds a metric to those that the run logs."""
    run.logger.add({"own/updates_per_step": run.updates / max(run.steps, 1)})


def main(seconds=10.0, **options):
    """Trains on CartPole; `options` are those of the configuration."""
    every_step = []

    def remember(run):
        every_step.append(run.steps)

    options = {"configs": "quickstart", **options}
    callbacks = [reverie.Every(seconds, log_ratio), remember]
    outcome = reverie.train("CartPole-v1", callbacks=callbacks, **options)
    print(f"The loop went round {len(every_step):,} times.")
    return outcome


if __name__ == "__main__":
    main()
