"""One file for each finding: what was claimed, how it is tried here, and the rule by which its verdict is found."""
