# The two commands of the README are `make run` and `make test`; both set up
# the environment first, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

export DO_NOT_TRACK := 1

.DEFAULT_GOAL := help
.PHONY: help setup run test check docs bench lock clean

help: ## Say what the targets do
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | sort

setup: $(READY) ## Create the environment from the lock file

# where torch comes from: empty for the package index (on Linux a build for CUDA, some GB), or
# TORCH_INDEX=https://download.pytorch.org/whl/cpu for the small one that runs on the CPU only
TORCH_INDEX ?=

$(READY): requirements.lock requirements-torch.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "cmbml needs Python 3.11 to 3.13; say which with: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "making $(VENV), once"
	@$(PYTHON) -m venv --clear $(VENV)
	@echo "installing what requirements.lock names: some minutes"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
		-r requirements.lock
	@echo "installing torch"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-torch.lock \
		$(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	@echo "installing cmbml"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip check --disable-pip-version-check
	@touch $@

run: $(READY) ## Simulate, clean and compare (environment of conf/base); options in RUN="--params ..."
	$(BIN)/kedro run $(RUN)

test: $(READY) ## Run the whole test suite, end-to-end runs included, on all cores; options in TEST="-m 'not slow'"
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(TEST)

check: $(READY) ## Lint, format, types and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY) ## Build the documentation and run its notebook
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

bench: $(READY) ## Measure the figures of benchmarks/ against one map2alm
	$(BIN)/python benchmarks/run.py $(BENCH)

# torch and what only its build for CUDA needs: requirements-torch.lock names the version, without
# a hash, because the build is the machine's choice
TORCH := torch triton cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas nvidia-cuda-cupti \
	nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand \
	nvidia-cusolver nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink \
	nvidia-nvshmem-cu13 nvidia-nvtx

lock: ## Pin every version again, for all supported Pythons (needs uv)
	uv pip compile --universal --generate-hashes --no-annotate --python-version 3.11 --extra dev \
		$(foreach name,$(TORCH),--no-emit-package $(name)) \
		--custom-compile-command "make lock" pyproject.toml --output-file requirements.lock

clean: ## Remove the environment, not the data
	rm -rf $(VENV)
