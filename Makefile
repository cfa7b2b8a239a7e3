# Each command makes .venv and installs what it needs on first use. Without make: python3 tasks.py COMMAND
PYTHON ?= python3
PORT ?= 8000

COMMANDS = help book lab test test-site test-matrix check links verify student run evidence evidence-check constraints bench clean

.PHONY: serve $(COMMANDS)
$(COMMANDS):
	@$(PYTHON) tasks.py $@
serve:
	@$(PYTHON) tasks.py serve $(PORT)
