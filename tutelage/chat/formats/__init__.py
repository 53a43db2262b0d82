"""Readers for files of conversations, preferences and prompts: formats are detected, and every row is counted."""

from tutelage.chat.formats.conversations import FORMATS as FORMATS
from tutelage.chat.formats.preferences import PREFERENCE_FORMATS as PREFERENCE_FORMATS
from tutelage.chat.formats.reading import TooManyBrokenRows as TooManyBrokenRows
from tutelage.chat.formats.reading import detect as detect
from tutelage.chat.formats.reading import find_format as find_format
from tutelage.chat.formats.reading import find_preference_format as find_preference_format
from tutelage.chat.formats.reading import read_conversations as read_conversations
from tutelage.chat.formats.reading import read_preferences as read_preferences
from tutelage.chat.formats.reading import read_prompts as read_prompts
from tutelage.chat.formats.reading import read_tasks as read_tasks
