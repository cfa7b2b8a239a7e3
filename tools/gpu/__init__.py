"""What only a GPU can tell: ``python -m tools.gpu`` (make gpu) asks it in stages and writes down the answers."""
