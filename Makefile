# Everything sets itself up: a .venv, pip with constraints.txt. Needs Python 3.11+ and nothing else.
PYTHON ?= python3
VENV   := .venv
STAMP  := $(VENV)/.installed
MINUTES ?= 10

.PHONY: demo test test-slow lint peers check-gguf clean

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("groundup needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(VENV)/bin/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## a model of the Python standard library's reference, from web pages to chat; MINUTES=10
	$(VENV)/bin/groundup demo --minutes $(MINUTES)

test: $(STAMP)  ## the tests that take seconds
	$(VENV)/bin/python -m pytest -m 'not slow'

test-slow: $(STAMP)  ## the tests that take minutes
	$(VENV)/bin/python -m pytest -m slow

lint: $(STAMP)  ## style, types, the import rule
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

peers:  ## the peers that pip can install, for benchmarks/; never among the project's dependencies
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	PIP_DISABLE_PIP_VERSION_CHECK=1 .venv-peers/bin/python -m pip install -q torch==2.13.0 transformers litgpt numpy 'lm-eval[hf]==0.4.13'

check-gguf: $(STAMP)  ## what llama.cpp makes of exported models; builds it from source first (minutes); RUN=runs/demo adds a trained one
	test -x .venv-gguf/bin/python || $(PYTHON) -m venv .venv-gguf
	PIP_DISABLE_PIP_VERSION_CHECK=1 CMAKE_ARGS=-DLLAVA_BUILD=OFF .venv-gguf/bin/python -m pip install -q --no-binary llama-cpp-python llama-cpp-python numpy
	$(VENV)/bin/python benchmarks/check_gguf.py $(if $(RUN),--run $(RUN))

clean:
	rm -rf $(VENV) .venv-peers .venv-gguf runs .mypy_cache .ruff_cache .pytest_cache
