# Every target is a command of tasks.py, which makes .venv and installs what it needs on first use.
PYTHON ?= python3

help: ; @$(PYTHON) tasks.py
book: ; @$(PYTHON) tasks.py book
%: ; @$(PYTHON) tasks.py $@

.PHONY: help book
