# Everything is in tools/dev.py and runs without make too: python -m tools.dev help
PYTHON ?= python3
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: demo test lint coverage docs wheel proof fuzz sanitize platforms bench compare setup clean help

demo test lint coverage docs wheel platforms bench compare setup clean help:
	@$(PYTHON) -m tools.dev $@ $(ARGS)

proof:
	@$(PYTHON) -m tools.dev proof --concern=$(CONCERN) $(ARGS)

fuzz:
	@$(PYTHON) -m tools.dev fuzz --target=$(TARGET) --seconds=$(SECONDS) $(ARGS)

sanitize:
	@$(PYTHON) -m tools.dev sanitize --with=$(WITH) $(ARGS)
