"""From seed and configuration to observations, for every split."""

from kedro.pipeline import Node, Pipeline

from cmbml.pipelines.simulation.nodes import (
    SPLITS,
    assign_seeds,
    compute_theory,
    draw_cosmology,
    draw_foregrounds,
    make_cmb,
    make_instrument,
    make_mask,
    make_truth,
    observe,
    prepare_foregrounds,
    prepare_noise,
)

NOISE_INPUTS = {
    "instrument": "instrument",
    "planck_variances": "planck_variances",
    "noise_models": "noise_models",
    "noise_averages": "noise_averages",
    "planck": "params:planck",
    "maps": "params:maps",
    "noise": "params:noise",
}


def create_pipeline() -> Pipeline:
    """Return the pipeline."""
    return Pipeline(
        [
            instrument_node(),
            Node(make_mask, ["params:mask", "mask_input"], ["mask", "report_mask"], name="make_mask"),
            Node(
                assign_seeds,
                "params:simulations",
                [f"{split}_seeds" for split in SPLITS],
                name="assign_seeds",
            ),
            Node(
                prepare_foregrounds,
                {
                    "foregrounds": "params:foregrounds",
                    "instrument": "instrument",
                    "maps": "params:maps",
                    "planck_maps": "planck_maps",
                    "planck_nilc": "planck_nilc",
                    "planck_instrument": "planck_instrument",
                    "planck": "params:planck",
                },
                "foreground_alm",
                name="prepare_foregrounds",
            ),
            Node(prepare_noise, NOISE_INPUTS, "noise_sources", name="prepare_noise"),
            *(node for split in SPLITS for node in _split_nodes(split)),
        ]
    )


def instrument_node() -> Node:
    """Return the node that chooses the channels."""
    return Node(
        make_instrument,
        ["instrument_table", "params:instrument", "bandpass_table"],
        "instrument",
        name="make_instrument",
    )


def _split_nodes(split: str) -> list[Node]:
    """Return the nodes of one split."""
    seeds, cosmology, theory = f"{split}_seeds", f"{split}_cosmology", f"{split}_theory"
    foregrounds, cmb_alm = f"{split}_foregrounds", f"{split}_cmb_alm"
    chains = ["wmap_chains_lcdm", "wmap_chains_mnu"]
    return [
        Node(draw_cosmology, [seeds, "params:cosmology", *chains], cosmology, name=f"draw_cosmology_{split}"),
        Node(draw_foregrounds, [seeds, "params:foregrounds"], foregrounds, name=f"draw_foregrounds_{split}"),
        Node(
            compute_theory,
            [cosmology, "params:cmb", "instrument", "given_theory"],
            theory,
            name=f"compute_theory_{split}",
        ),
        Node(make_cmb, [theory, seeds, "instrument", "params:cmb"], cmb_alm, name=f"make_cmb_{split}"),
        Node(make_truth, [cmb_alm, "params:target"], f"{split}_cmb", name=f"make_truth_{split}"),
        Node(observe, sky_inputs(split), f"{split}_observations", name=f"observe_{split}"),
    ]


def sky_inputs(split: str) -> dict[str, str]:
    """Return what the observations of one split are made from."""
    return {
        "cmb_alm": f"{split}_cmb_alm",
        "parameters": f"{split}_foregrounds",
        "seeds": f"{split}_seeds",
        "foreground_alm": "foreground_alm",
        "noise_sources": "noise_sources",
        "instrument": "instrument",
        "foregrounds": "params:foregrounds",
        "maps": "params:maps",
        "noise": "params:noise",
    }
