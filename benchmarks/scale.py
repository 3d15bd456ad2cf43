"""Where script parallel saturates: a formula, and a simulation that checks it.

    python benchmarks/scale.py                                          # the table of docs/scale.md
    python benchmarks/scale.py --update_seconds 0.35 --step_bytes 600   # for other service times
    python benchmarks/scale.py measure actors                           # of slow environments
    python benchmarks/scale.py measure service                          # of the learner, per step
    python benchmarks/scale.py measure inference                        # who chooses actions

One learner pulls chunks of steps from actors, stores each, and makes the updates that it is worth.
The formula takes the slowest of what a chunk has to pass: its actor, the learner's link in, that
link out for parameters, and the learner itself. The simulation plays the same with queues, actors
that hold at most two finished chunks, and service times that vary.
"""

import argparse
import dataclasses
import heapq
import math
import random


@dataclasses.dataclass(frozen=True)
class Setting:
    """Service times of a cluster with one learner.

    Attributes:
        actors: Actors, over all nodes.
        nodes: Nodes that actors run on; each gets a version of the parameters once.
        envs: Environments of an actor.
        chunk: Steps of a chunk, per environment.
        env_seconds: To step all environments of an actor once, with the policy.
        step_bytes: Of a step on the wire, latents included.
        link: Bytes per second of the learner's network link.
        store_seconds: Of the learner, to receive, count and store one step.
        update_seconds: Of one update.
        updates_per_step: Train ratio by the steps of a batch.
        params_bytes: Of one version of the parameters.
        push_every: Updates between two versions.
        outstanding: Chunks that an actor makes ahead of the learner.
        batch_steps: Steps of a batch.
        shards: Replay processes on other nodes, 0 for replay in the learner's.
        alone: 1 if every node gets parameters from the learner, 0 if nodes pass them on.

    The defaults are a size12m with 64x64 images: bytes and `store_seconds` as `measure service`
    gives them (the mean, most of it the first touch of replay's memory; the least is 5 us), a link
    of 10 Gbit/s, and an update of 13 ms, which is an assumption about a large accelerator.
    """

    actors: int
    nodes: int
    envs: int = 8
    chunk: int = 16
    env_seconds: float = 0.020
    step_bytes: float = 13_328
    link: float = 1.25e9
    store_seconds: float = 40e-6
    update_seconds: float = 0.013
    updates_per_step: float = 1 / 32
    params_bytes: float = 42e6
    push_every: int = 10
    outstanding: int = 2
    batch_steps: int = 1024
    shards: int = 0
    alone: int = 0

    @property
    def steps(self) -> int:
        """Steps of a chunk, over the environments of its actor."""
        return self.envs * self.chunk

    @property
    def in_bytes(self) -> float:
        """What reaches the learner per step: the step, or batches that shards have made."""
        if not self.shards:
            return self.step_bytes
        return self.step_bytes * self.updates_per_step * self.batch_steps

    @property
    def out_bytes(self) -> float:
        """Parameters that leave the learner per step.

        A node that has them passes them on, so that each copy doubles those that can.
        """
        copies = self.nodes if self.alone else min(self.nodes, 1 + math.log2(self.nodes))
        return self.params_bytes * copies * self.updates_per_step / self.push_every


def predict(setting: Setting) -> dict[str, float]:
    """Environment steps per second that each part could bear; the least is what comes about."""
    s = setting
    return {
        "actors": s.actors * s.envs / s.env_seconds,
        # Both directions have the whole of it.
        "link in": s.link / s.in_bytes,
        "link out": s.link / s.out_bytes,
        "learner": 1 / (s.store_seconds + s.updates_per_step * s.update_seconds),
    }


def simulate(setting: Setting, chunks: int = 20_000, seed: int = 0) -> float:
    """Environment steps per second of a run of so many chunks, after a fifth of them.

    The time of a chunk in its actor is exponential around its mean for a half of it, as episodes
    end and environments differ.
    """
    s, rng = setting, random.Random(seed)
    mean = s.chunk * s.env_seconds
    work = lambda: mean / 2 + rng.expovariate(2 / mean)  # noqa: E731
    sent = s.steps * max(s.in_bytes, s.out_bytes) / s.link
    served = s.steps * (s.store_seconds + s.updates_per_step * s.update_seconds)
    # Finished chunks by the time at which their actor has them ready.
    ready = [(work(), actor) for actor in range(s.actors)]
    heapq.heapify(ready)
    # When an actor may begin its next chunk: those that it may make ahead, it does not wait for.
    credit = [s.outstanding - 1] * s.actors
    waiting: dict[int, float] = {}
    arrived: list[tuple[float, int]] = []
    link = learner = start = 0.0
    for number in range(chunks):
        # The learner takes what arrived first; all that was ready by then has gone over the link.
        while ready and (not arrived or ready[0][0] <= max(learner, arrived[0][0])):
            time, actor = heapq.heappop(ready)
            link = max(link, time) + sent
            heapq.heappush(arrived, (link, actor))
            if credit[actor]:
                credit[actor] -= 1
                heapq.heappush(ready, (time + work(), actor))
            else:
                waiting[actor] = time
        time, actor = heapq.heappop(arrived)
        learner = max(learner, time)
        # Called again as soon as it was taken.
        if actor in waiting:
            heapq.heappush(ready, (max(waiting.pop(actor), learner) + work(), actor))
        else:
            credit[actor] += 1
        learner += served
        if number == chunks // 5:
            start = learner
    return (chunks - chunks // 5 - 1) * s.steps / (learner - start)


def main() -> None:
    """Prints the table for 1, 10 and 100 nodes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("measure", nargs="*", help="measure actors, service or inference")
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--steps", type=int, default=500, help="of each actor, as measured")
    parser.add_argument("--train_ratio", type=float, default=0.5)
    parser.add_argument("--replay_shards", type=int, default=0)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--actors_per_node", type=int, default=16)
    changeable = [x for x in dataclasses.fields(Setting) if x.name not in ("actors", "nodes")]
    for field in changeable:
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    args = vars(parser.parse_args())
    if args["measure"]:
        import scale_measure

        if args["measure"][1:] == ["service"]:
            scale_measure.service()
        elif args["measure"][1:] == ["inference"]:
            scale_measure.inference()
        else:
            how = args["steps"], args["train_ratio"], args["replay_shards"]
            scale_measure.actors(args["actors"], *how)
        return
    options = {field.name: args[field.name] for field in changeable}
    print("| nodes | actors | steps/s, formula | steps/s, simulation | limited by | next |")
    print("|---|---|---|---|---|---|")
    for nodes in args["nodes"]:
        setting = Setting(nodes * args["actors_per_node"], nodes, **options)
        (limit, steps), (other, later), *_ = sorted(predict(setting).items(), key=lambda x: x[1])
        print(
            f"| {nodes} | {setting.actors} | {steps:,.0f} | {simulate(setting):,.0f} | {limit} "
            f"| {other}, {later:,.0f} |"
        )


if __name__ == "__main__":
    main()
