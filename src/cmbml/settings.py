"""Settings of the Kedro project; see Kedro's documentation for each."""

from cmbml.hooks import CheckHooks, ReportHooks, ThreadHooks

HOOKS = (ThreadHooks(), CheckHooks(), ReportHooks())

# Kedro-Viz's own run hook warns at every partial run; previews work without it.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-viz", "kedro-telemetry")

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # ${given:a, b} is a, or b where a is null
    "custom_resolvers": {"given": lambda value, otherwise: otherwise if value is None else value},
    # Without this, an environment that sets one key of a group would lose the others.
    "merge_strategy": {"parameters": "soft", "globals": "soft"},
}
