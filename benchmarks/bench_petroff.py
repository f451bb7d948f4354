"""The network of Petroff et al. against the same network with torch's sparse products.

Run from the project root: OMP_NUM_THREADS=1 python benchmarks/bench_petroff.py
A pass is forward and backward of one sky in seven channels, with dropout. Memory is the peak of what a pass
takes beyond weights and Laplacians, in a process of its own. Both networks take turns, and the best of each
counts; with one thread seconds are those of the processor, so that other work on the machine counts little.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from baseline import threads
from memory import in_a_process, peak_gibibytes
from sparse_petroff import SparseNetwork
from torch import Tensor, nn

from cmbml.pipelines.petroff.cleaner import PetroffNetwork
from cmbml.pipelines.petroff.graph import scaled_laplacian
from cmbml.pipelines.petroff.layers import ChebyshevConvolution
from cmbml.pipelines.petroff.products import chebyshev
from cmbml.science.threads import set_thread_count

CHANNELS, FILTERS, ORDER = 7, 6, 9
NSIDE = 64
WARMING_NSIDE = 8
REPEATS, FAST_REPEATS = 3, 4
"""Passes of the sparse network, and of ours for each of them."""

FASTER, SMALLER = 8.0, 0.5
TOLERANCE = 1e-4


def network_of(nside: int, *, recompute: bool = False) -> PetroffNetwork:
    """Return the published network of a resolution, down to nside 1, with drawn weights."""
    torch.manual_seed(4)
    return PetroffNetwork(
        channels=CHANNELS,
        nside=nside,
        depth=nside.bit_length() - 1,
        filters=FILTERS,
        order=ORDER,
        initial_dropout=0.1,
        weight_strength=1e-11,
        dropout_strength=2e-3,
        pooling="max",
        output="linear",
        uncertain=True,
        recompute=recompute,
    )


def build_laplacians(network: nn.Module) -> None:
    """Build what convolutions of a network build once for a process, so that no pass does."""
    layers = [module for module in network.modules() if isinstance(module, ChebyshevConvolution)]
    for nside, weighting in {(layer.nside, layer.weighting) for layer in layers}:
        graph = scaled_laplacian(nside, weighting)
        chebyshev(torch.zeros(1, graph.npix, 1), torch.zeros(2, 1, 1, 1), graph)


def sparse_network_of(nside: int) -> SparseNetwork:
    return SparseNetwork(network_of(nside))


NETWORKS: dict[str, Callable[[int], nn.Module]] = {"petroff": network_of, "sparse": sparse_network_of}


def sky_of(nside: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(1, CHANNELS, 12 * nside**2, generator=generator)


def both_ways(network: nn.Module, sky: Tensor) -> Tensor:
    """Take a pass and return the output."""
    network.zero_grad()
    output = network(sky)
    output.square().mean().backward()
    return output.detach()


def check_equal(networks: dict[str, nn.Module], sky: Tensor) -> None:
    """Refuse to compare networks that differ in what they find, or in what they learn of it.

    Raises
    ------
    AssertionError
        If outputs without dropout, or their derivatives by the sky, differ.
    """
    outputs, gradients = [], []
    for network in networks.values():
        seen = sky.clone().requires_grad_()
        outputs.append(both_ways(network.eval(), seen))
        gradients.append(seen.grad / seen.grad.abs().max())
        network.train()
    torch.testing.assert_close(*outputs, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(*gradients, rtol=0, atol=TOLERANCE)


def memory_of(name: str, n_threads: int) -> float:
    """Return the GiB of a pass; for a process of its own."""
    torch.set_num_threads(n_threads)
    both_ways(NETWORKS[name](WARMING_NSIDE), sky_of(WARMING_NSIDE))  # compiles and loads
    network, sky = NETWORKS[name](NSIDE), sky_of(NSIDE)
    build_laplacians(network)
    return peak_gibibytes(lambda: both_ways(network, sky))


def seconds_of(network: nn.Module, sky: Tensor) -> float:
    clock = time.process_time if threads() == 1 else time.perf_counter
    start = clock()
    both_ways(network, sky)
    return clock() - start


def run() -> list[dict]:
    """Compare time and memory of a pass."""
    set_thread_count(threads())
    torch.set_num_threads(threads())
    networks, sky = {name: make(NSIDE) for name, make in NETWORKS.items()}, sky_of(NSIDE)
    check_equal(networks, sky)  # and build all Laplacians
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(REPEATS):
        seconds["sparse"].append(seconds_of(networks["sparse"], sky))
        seconds["petroff"] += [seconds_of(networks["petroff"], sky) for _ in range(FAST_REPEATS)]
    best = {name: min(found) for name, found in seconds.items()}
    memory = {name: in_a_process(memory_of, name, threads()) for name in networks}
    return [
        {
            "name": f"petroff_pass_nside{NSIDE}",
            "ratio": best["sparse"] / best["petroff"],
            "limit": FASTER,
            "at_least": True,
            "seconds": best["petroff"],
            "sparse_seconds": best["sparse"],
        },
        {
            "name": f"petroff_memory_nside{NSIDE}",
            "ratio": memory["petroff"] / memory["sparse"],
            "limit": SMALLER,
            "gibibytes": memory["petroff"],
            "sparse_gibibytes": memory["sparse"],
        },
    ]


if __name__ == "__main__":
    for row in run():
        print(row)
