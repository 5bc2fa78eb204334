"""The group competition: experts judge the candidates of one seed, and the best of them wins."""
