# Every target makes .venv by itself, through constraints.txt, from Python 3.11 and make alone.
PYTHON ?= python3.11
# A further package index, for torch's build: https://download.pytorch.org/whl/cpu has the one for CPUs.
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --constraint constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
READY := $(VENV)/.ready
# Processes that run the tests, each on one thread.
WORKERS ?= 2
SUDO ?=

.PHONY: help install demo test qemu check bench docs clean

help:
	@echo "make install   .venv with gatework and every tool of its development; TORCH_INDEX=URL for a build of torch"
	@echo "make demo      train a translator of dates until it is right, and show what it attends to"
	@echo "make test      the whole test suite"
	@echo "make qemu      what make test tries the engine for other machines with (Debian's packages; SUDO=sudo)"
	@echo "make check     ruff and mypy"
	@echo "make bench     the benchmarks' short suite"
	@echo "make docs      the documentation, in docs/_build/html"

install: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) pip setuptools
	$(PIP) --editable '.[dev]'
	@touch $(READY)

demo: $(READY)
	$(BIN)/gatework demo

test: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

# Without these the tests of AArch64, and of the OpenMP library of macOS and Windows, are skipped, and say so.
qemu:
	$(SUDO) apt-get install --yes --no-install-recommends qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross libomp5

check: $(READY)
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/ruff format --check src tests benchmarks docs
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/gatework bench

docs: $(READY)
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf $(VENV) docs/_build .pytest_cache .mypy_cache .ruff_cache
