"""What is wrong with a file of conversations, found before anything is trained on it."""

from tutelage.chat.audit.audit import audit_file as audit_file
from tutelage.chat.audit.fix import Fixed as Fixed
from tutelage.chat.audit.fix import fix_file as fix_file
from tutelage.chat.audit.report import Example as Example
from tutelage.chat.audit.report import Finding as Finding
from tutelage.chat.audit.report import Report as Report
