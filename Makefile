# Everything a developer does, in an environment of its own: .venv, made when first needed.

.PHONY: demo test bench lint format pictures clean help
.DEFAULT_GOAL := help

BIN := .venv/bin
READY := .venv/ready

help:  ## List the targets.
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(READY)  ## Open napari on the sample; without a display, do the job by script.
	@$(BIN)/python scripts/demo.py

test: lint  ## Everything that is checked: style, types, walls, tests (GUI in a virtual display).
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest  # small tensors: more threads only wait for each other

bench: $(READY)  ## Every table of benchmarks/, one after another: docs/benchmarks.md tells what they are.
	@for each in $$(grep -l __main__ benchmarks/*.py); do echo; echo "== $$each"; $(BIN)/python $$each; done

lint: $(READY)  ## Style, types, and who may import whom.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(READY)  ## Put the code in its form.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

pictures: $(READY)  ## Make the pictures of the documentation from the real window.
	@$(BIN)/python scripts/picture.py

clean:  ## Remove what was made, the environment included.
	rm -rf .venv build dist demo_output .pytest_cache .ruff_cache .mypy_cache \
	    .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml scripts/setup_env.sh
	@scripts/setup_env.sh
