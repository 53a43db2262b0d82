"""What training and serving cost, by arithmetic: parameters, FLOPs, time, money, energy, memory. Nothing is measured
here: results are modelled, and the inputs that they depend on are named beside them."""
