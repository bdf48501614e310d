"""The tables that the papers' claims rest on, made again at the scale of the machine at hand."""

from .run import Reproduction, options_of, reproduce, reproduce_untrained
from .table import Table, table, table_names

__all__ = ["Reproduction", "Table", "options_of", "reproduce", "reproduce_untrained", "table", "table_names"]
