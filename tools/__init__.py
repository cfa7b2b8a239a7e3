"""What the commands of ``tasks.py`` do beyond one line; each is run as ``python -m tools.NAME``."""
