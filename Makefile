# Each command makes .venv and installs what it needs on first use. Without make: python3 tasks.py COMMAND
PYTHON ?= python3
PORT ?= 8000

.PHONY: help book serve lab test test-site links verify run evidence evidence-check bench clean
help book lab test test-site links verify run evidence evidence-check bench clean:
	@$(PYTHON) tasks.py $@
serve:
	@$(PYTHON) tasks.py serve $(PORT)
