"""Other quantizers on our calibration sets, each in an environment of its own: `make peers`."""
