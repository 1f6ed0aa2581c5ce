# make demo    set up everything and audit the embedded digits
# make check   set up everything and run linters, type checks and the quick tests
# make test    set up everything and run linters, type checks and all tests
.DEFAULT_GOAL := help
BIN := .venv/bin
# Sessions of pytest side by side. Each has a database, a cache and a browser of its own, and its share of the processors.
WORKERS := 2
# Files are dealt in the order of their folders, so that the quick ones come last and both workers end together.
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: help
help: ## say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: setup
setup: ## environment in .venv, and a mongod that starts
	@bash .ci/set-up

.PHONY: demo
demo: setup ## set up everything and run the main job
	@$(BIN)/influence-audit demo

.PHONY: browser
browser: setup
	@bash .ci/find-browser

.PHONY: lint
lint: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: check
check: setup ## ruff, mypy and the quick tests (tests/unit), while you work
	@$(MAKE) --no-print-directory --jobs=2 lint unit

.PHONY: unit
unit: setup
	$(PYTEST) tests/unit

.PHONY: test
test: setup browser ## set up everything and run linters, type checks and all tests
	@$(MAKE) --no-print-directory --jobs=2 lint tests

.PHONY: tests
tests: setup
	$(PYTEST)

.PHONY: pictures
pictures: setup browser ## run the demo and a review, and take the README's pictures of them
	$(BIN)/python -m tests.pictures.take

.PHONY: notebook
notebook: setup ## run docs/notebook.ipynb, and keep what its cells show
	@$(BIN)/python -m tests.pictures.notebook

.PHONY: bench
bench: setup ## measure the influence engine, the whole audit and the App (tests/benchmarks)
	@$(BIN)/python -W ignore -m tests.benchmarks.influence
	@$(BIN)/python -W ignore -m tests.benchmarks.whole_audit
	@$(BIN)/python -W ignore -m tests.benchmarks.app
	@$(BIN)/python -W ignore -m tests.benchmarks.scale

.PHONY: soak
soak: setup ## audit 10 000 images 20 times in one process, and see what grows (tests/benchmarks/soak.md)
	@$(BIN)/python -W ignore -m tests.benchmarks.soak

.PHONY: bench-gpu
bench-gpu: setup ## measure what a GPU of 80 GB does, ImageNet's size among it (tests/benchmarks/gpu.md)
	@$(BIN)/python -W ignore -m tests.benchmarks.gpu

.PHONY: clean
clean: ## remove the environment
	rm -rf .venv
