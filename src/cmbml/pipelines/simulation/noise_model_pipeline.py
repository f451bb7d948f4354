"""From simulations of a channel's noise to the model from which correlated noise is drawn."""

from kedro.pipeline import Node, Pipeline

from cmbml.pipelines.simulation.noise_model_nodes import average_noise, fit_noise_model


def create_noise_model_pipeline() -> Pipeline:
    """Return the pipeline that makes models of correlated noise from noise simulations."""
    averaged = {
        "noise_simulations": "noise_simulations",
        "instrument_table": "instrument_table",
        "instrument": "params:instrument",
        "noise_model": "params:noise_model",
        "planck": "params:planck",
    }
    fitted = {**averaged, "noise_averages": "noise_averages"}
    return Pipeline(
        [
            Node(average_noise, averaged, "noise_averages", name="average_noise"),
            Node(fit_noise_model, fitted, "noise_models", name="fit_noise_model"),
        ]
    )
