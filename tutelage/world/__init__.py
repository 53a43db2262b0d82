"""The ground-truth world: people and facts, the sentences that state them, the questions about them, its search."""

from tutelage.world.grading import Question, admits_ignorance, is_correct
from tutelage.world.society import World, WorldSettings

__all__ = ["Question", "World", "WorldSettings", "admits_ignorance", "is_correct"]
