"""The design of a study: its cells, from base recipes overlaid with arms, quantizers and draws."""
