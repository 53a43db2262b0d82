"""Checks of a file of conversations before it is trained on."""

from tutelage.chat.audit.audit import audit_file as audit_file
from tutelage.chat.audit.fix import FixedFile as FixedFile
from tutelage.chat.audit.fix import fix_file as fix_file
from tutelage.chat.audit.preferences import audit_preferences as audit_preferences
from tutelage.chat.audit.report import Example as Example
from tutelage.chat.audit.report import Finding as Finding
from tutelage.chat.audit.report import Report as Report
