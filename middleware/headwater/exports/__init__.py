"""Every single charge, handed to other systems: files by day, events over HTTP. At least once; nothing rounded, nothing added."""

from headwater.exports.columns import COLUMNS, VERSION, Column, Record
from headwater.exports.events import Events
from headwater.exports.files import FORMATS, Folder
from headwater.exports.reading import Exported
from headwater.exports.run import ExportError, Progress, Summary, Target, Unavailable, export

__all__ = [
    "COLUMNS",
    "FORMATS",
    "VERSION",
    "Column",
    "Events",
    "ExportError",
    "Exported",
    "Folder",
    "Progress",
    "Record",
    "Summary",
    "Target",
    "Unavailable",
    "export",
]
