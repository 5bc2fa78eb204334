"""Seeds to candidates: drawing seeds, engines that sample, the regenerated corpus, inference traces."""
