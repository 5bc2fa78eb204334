"""Which calibration data to take, told before anything is quantized."""
