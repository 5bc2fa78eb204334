"""Which cells a study has: arms, quantizers and draws, laid upon base recipes."""
