"""The tables that the papers' claims rest on, made again at the scale of the machine at hand."""

from .reproduction import Reproduction
from .run import options_of, reproduce
from .table import Table, table, table_names
from .untrained import reproduce_untrained

__all__ = ["Reproduction", "Table", "options_of", "reproduce", "reproduce_untrained", "table", "table_names"]
