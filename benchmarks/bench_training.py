"""Steps of a training: what layout, compilation and precision give, and what is lost beside the network.

Run from the project root: OMP_NUM_THREADS=1 python benchmarks/bench_training.py [--compiled]
A step is forward, loss, backward and optimiser. The published network is UNet5 with four channels at nside
64, the correcting one that of conf/base. Seconds of steps are those of the processor, not of the clock, so
that other work on the machine counts little; all variants take turns, and the best of each counts. First
steps are timed by the clock: what they need once, such as a compiler, runs in other processes.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
import yaml
from baseline import threads
from torch import Tensor, nn
from torch.utils.data import Dataset

from cmbml.learning.losses import sky_losses
from cmbml.learning.map_datasets import ArrayPairs
from cmbml.learning.module import TrainingModule
from cmbml.learning.networks import NetworkSpec
from cmbml.learning.samples import EpochOrder, batches_of
from cmbml.learning.settings import TrainingSettings
from cmbml.learning.symmetry import SphereSymmetry
from cmbml.learning.training import train
from cmbml.learning.transforms import Standardise
from cmbml.pipelines.cmbnncs.cleaner import correcting_network, published_network
from cmbml.pipelines.cmbnncs.settings import NetworkSettings
from cmbml.science.planes import plane_index
from cmbml.science.threads import set_thread_count

NSIDE, CHANNELS, SKIES = 64, 4, 16
REPEATS = 7
PARAMETERS = Path(__file__).parents[1] / "conf" / "base" / "parameters_cmbnncs.yml"
VARIANTS = {
    "float32": {},
    "channels_last": {"channels_last": True},
    "bfloat16": {"precision": "bf16-mixed"},
    "bfloat16_channels_last": {"precision": "bf16-mixed", "channels_last": True},
}
COMPILED = {
    "compiled": {"compile": True},
    "channels_last_compiled": {"channels_last": True, "compile": True},
    "bfloat16_compiled": {"precision": "bf16-mixed", "compile": True},
    "bfloat16_channels_last_compiled": {"precision": "bf16-mixed", "channels_last": True, "compile": True},
}
"""Only with --compiled: it takes a minute or two each."""

DATA_LIMIT = 0.15
STEPS = (50, 450)
"""Of the two trainings whose difference is the time of a step without what comes before the first."""

Sample = tuple[Tensor, Tensor, Tensor]


def base_group(name: str, **values: object) -> dict[str, Any]:
    """Return a group of conf/base, with values for what it takes from elsewhere."""
    group: dict[str, Any] = yaml.safe_load(PARAMETERS.read_text())[name]
    return {**group, **values}


def base_settings(**changes: object) -> TrainingSettings:
    plain = {"precision": "32", "channels_last": False, "compile": False, "threads": threads()}
    return TrainingSettings(**base_group("cmbnncs_training", seed=1, **{**plain, **changes}))


def base_correcting() -> nn.Module:
    network = NetworkSettings(**base_group("cmbnncs_network", nside=NSIDE))
    return correcting_network(
        fields=[0] * CHANNELS,
        depth=network.steps,
        filters=network.filters,
        max_filters=network.max_filters,
        gains=[[1.0, 0.0]],
        batch_norm=network.batch_norm,
        compress=network.compress,
    )


def published() -> nn.Module:
    return published_network(in_channels=CHANNELS, out_channels=1, depth=5, max_filters=512)


NETWORKS: dict[str, Callable[[], nn.Module]] = {"unet5": published, "correcting": base_correcting}


def one_by_one(width: int) -> nn.Conv2d:
    """A network that costs nothing, so that all else is seen."""
    return nn.Conv2d(width, 1, 1)


class RandomSkies(Dataset[Sample]):
    """Skies in memory."""

    def __init__(self, count: int, *, channels: int, rows: int, columns: int) -> None:
        generator = torch.Generator().manual_seed(2)
        self.features = torch.randn(count, channels, rows, columns, generator=generator)
        self.one = torch.ones(1, 1, 1)

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, number: int) -> Sample:
        return self.features[number], self.features[number, :1], self.one

    def set_epoch(self, epoch: int) -> None:
        """Show the same in every epoch."""


class Stepper:
    """A network that takes the same step again and again, as a training does.

    Parameters
    ----------
    make
        Makes the network.
    changes
        To the settings of conf/base.
    """

    def __init__(self, make: Callable[[], nn.Module], changes: dict[str, Any]) -> None:
        torch.manual_seed(1)
        self.settings = base_settings(**changes)
        skies = RandomSkies(self.settings.batch_size, channels=CHANNELS, rows=4 * NSIDE, columns=3 * NSIDE)
        self.network, self.features = make(), skies.features
        self.target, self.weights = skies.features[:, :1].contiguous(), torch.ones(1, 1, 4 * NSIDE, 3 * NSIDE)
        if self.settings.channels_last:
            self.network.to(memory_format=torch.channels_last)
            self.features = self.features.contiguous(memory_format=torch.channels_last)
        if self.settings.compile:
            self.network.compile()
        self.optimiser = optimiser_of(self.network, self.settings)
        self.seconds: list[float] = []
        start = time.perf_counter()
        self.take()
        self.first_seconds = time.perf_counter() - start

    def take(self) -> float:
        """Take a step and return its seconds."""
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.settings.precision == "bf16-mixed"):
            output = self.network(self.features)
        step(self.optimiser, output, (self.target, self.weights), settings=self.settings)
        return time.process_time() - start


def optimiser_of(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    module = TrainingModule(network, settings, train_skies=None, valid_skies=None, start=None)
    return module.configure_optimizers()


def step(
    optimiser: torch.optim.Optimizer, output: Tensor, wanted: tuple[Tensor, Tensor], *, settings: Any
) -> None:
    """Do what follows the network's output, as `cmbml.learning.module` does it."""
    optimiser.zero_grad()
    losses = sky_losses(output, *wanted, settings=settings)
    losses.mean().backward()
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    norm = nn.utils.get_total_norm([p.grad for p in parameters])
    if not bool(torch.isfinite(norm + losses.detach().sum())):
        raise RuntimeError("a gradient is not finite")
    nn.utils.clip_grads_with_norm_(parameters, settings.gradient_clip, norm)
    optimiser.step()


def variants(name: str, chosen: dict[str, dict[str, Any]]) -> list[dict]:
    """Compare the variants of a network's step with plain float32."""
    steppers = {variant: Stepper(NETWORKS[name], changes) for variant, changes in chosen.items()}
    for _ in range(REPEATS):
        for stepper in steppers.values():
            stepper.seconds.append(stepper.take())
    plain = min(steppers["float32"].seconds)
    return [
        {
            "name": f"step_{name}_{variant}_over_float32",
            "ratio": min(stepper.seconds) / plain,
            "seconds": min(stepper.seconds),
            "float32_seconds": plain,
            "first_step_seconds": stepper.first_seconds,
        }
        for variant, stepper in steppers.items()
        if variant != "float32"
    ]


def mapped_pairs(folder: Path) -> ArrayPairs:
    """Return skies that lie in files mapped into memory, in symmetries, with weights, as in conf/base."""
    rng = np.random.default_rng(4)
    loaders: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for number in range(SKIES):
        for kind, rows in enumerate((CHANNELS, 1)):
            path = folder / f"{kind}_{number}.npy"
            np.save(path, rng.standard_normal((rows, 4 * NSIDE, 3 * NSIDE), dtype=np.float32))
            loaders[kind][f"sim{number:04d}"] = partial(np.load, path, mmap_mode="r")
    scaled = Standardise(centre=False, robust=True)
    return ArrayPairs(
        *loaders,
        feature_transform=scaled.fit([load() for load in loaders[0].values()]),
        target_transform=scaled.fit([load() for load in loaders[1].values()]),
        weights=rng.uniform(0.1, 1, (4 * NSIDE, 3 * NSIDE)),
        symmetry=SphereSymmetry(NSIDE, seed=1, layout=plane_index(NSIDE)),
    )


def data_shares() -> list[dict]:
    """Compare the reading of a batch with a step, without and with what conf/base makes of it."""
    settings = base_settings()
    with tempfile.TemporaryDirectory() as folder:
        pairs = mapped_pairs(Path(folder))
        steppers = {name: Stepper(make, {}) for name, make in NETWORKS.items()}
        loads = []
        for epoch in range(REPEATS):
            order = EpochOrder(len(pairs), seed=1, first_epoch=epoch)
            start = time.process_time()
            batches = sum(1 for _ in batches_of(pairs, settings, order, pinned=False))
            loads.append((time.process_time() - start) / batches)
            for stepper in steppers.values():
                stepper.seconds.append(stepper.take())
    return [
        {
            "name": f"reading_over_step_{name}",
            "ratio": min(loads) / min(stepper.seconds),
            "seconds": min(loads),
            "step_seconds": min(stepper.seconds),
            "limit": DATA_LIMIT,
        }
        for name, stepper in steppers.items()
    ]


def in_a_training(steps: int) -> None:
    """Take steps under lightning, with all that is watched."""
    settings = base_settings(epochs=1, batch_size=1)
    skies = RandomSkies(steps, channels=1, rows=8, columns=6)
    with tempfile.TemporaryDirectory() as folder:
        spec = NetworkSpec(f"{__name__}:one_by_one", {"width": 1})
        train(spec, skies, None, settings, Path(folder) / "training", {})


def in_a_loop(steps: int) -> None:
    """Take the same steps in a loop."""
    settings = base_settings(epochs=1, batch_size=1)
    network = one_by_one(1)
    optimiser = optimiser_of(network, settings)
    skies = RandomSkies(steps, channels=1, rows=8, columns=6)
    for batch in batches_of(skies, settings, EpochOrder(steps, seed=1), pinned=False):
        step(optimiser, network(batch[0]), (batch[1], batch[2]), settings=settings)


def step_seconds(take: Callable[[int], None]) -> float:
    """Return seconds per step, of which those before the first step are no part."""
    seconds = []
    for steps in STEPS:
        start = time.process_time()
        take(steps)
        seconds.append(time.process_time() - start)
    return (seconds[1] - seconds[0]) / (STEPS[1] - STEPS[0])


def overhead() -> list[dict]:
    """Compare what lightning and what is watched cost per step with a step of conf/base."""
    sys.modules.setdefault(__name__, sys.modules["__main__"])
    rounds = [[step_seconds(take) for take in (in_a_loop, in_a_training)] for _ in range(3)]
    loop, training = (min(column) for column in zip(*rounds, strict=True))
    stepper = Stepper(base_correcting, {})
    plain = min(stepper.take() for _ in range(REPEATS))
    return [
        {
            "name": "training_beside_a_loop_over_step_correcting",
            "ratio": (training - loop) / plain,
            "training_seconds": training,
            "loop_seconds": loop,
            "step_seconds": plain,
        }
    ]


def run(chosen: Iterable[tuple[str, dict[str, Any]]] = VARIANTS.items()) -> list[dict]:
    """Time steps in every variant, the share of reading, and what the training adds to a loop."""
    set_thread_count(threads())
    torch.set_num_threads(threads())
    rows = [row for name in NETWORKS for row in variants(name, dict(chosen))]
    return [*rows, *data_shares(), *overhead()]


if __name__ == "__main__":
    extra = COMPILED if "--compiled" in sys.argv else {}
    for result in run({**VARIANTS, **extra}.items()):
        print(result)
