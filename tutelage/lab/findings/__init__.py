"""One file per finding: the claim, its replication, and the rule of its verdict."""
