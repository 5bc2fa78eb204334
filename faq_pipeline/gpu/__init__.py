"""Leases on physical GPUs: at most one GPU stage computes on a GPU of this host, whoever started it.

Dagster's pool counts within one instance, and can be raced where that keeps its state in SQLite. A
lease is a lock of the operating system on a file named by the GPU's UUID, in one folder for the whole
host: it excludes other Dagster instances, other users, containers that share the folder, and `faq
run` beside the daemon, and is released when its holder dies.
"""
