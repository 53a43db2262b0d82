"""Conversations to token ids and loss weights, and generated ids back to messages."""
