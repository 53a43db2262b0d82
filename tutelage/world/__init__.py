"""The synthetic world with known ground truth: people and facts, texts about them, questions, and a search."""

from tutelage.world.grading import Question, admits_ignorance, is_correct
from tutelage.world.society import World, WorldSettings

__all__ = ["Question", "World", "WorldSettings", "admits_ignorance", "is_correct"]
