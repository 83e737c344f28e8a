# Everything a developer does, in an environment of its own: .venv, made when first needed.

.PHONY: demo test docs glossary bench lint format pictures clean help
.DEFAULT_GOAL := help

BIN := .venv/bin
READY := .venv/ready

help:  ## List the targets.
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(READY)  ## Open napari on the sample; without a display, run the demonstration by script.
	@$(BIN)/python scripts/demo.py

test: lint docs  ## Run every check: style, types, imports, documentation, tests (GUI in a virtual display).
	# With small tensors, more threads of one process only cost time.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: glossary  ## Check style, types, words, and which module imports which.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

glossary: $(READY)  ## List the retired words that remain in code and documentation.
	@$(BIN)/python scripts/check_glossary.py

docs: $(READY)  ## Build the documentation into site/; any warning is an error.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

bench: $(READY)  ## Print every table of benchmarks/, one after another (hours); see docs/benchmarks.md.
	@for each in $$(grep -l __main__ benchmarks/*.py); do echo; echo "== $$each"; $(BIN)/python $$each; done

format: $(READY)  ## Format the code and apply the automatic fixes.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

pictures: $(READY)  ## Make the pictures of the documentation from the real window.
	@$(BIN)/python scripts/picture.py

clean:  ## Remove everything that was made, the environment included.
	rm -rf .venv build dist site demo_output .coverage .pytest_cache .ruff_cache .mypy_cache \
	    .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml scripts/setup_env.sh
	@scripts/setup_env.sh
