"""Reinforcement learning: prompts to groups of samples, rewards, advantages and examples."""
