"""From a finished run's own numbers to what is wrong with it: symptom, cause and cure, each with its evidence."""
