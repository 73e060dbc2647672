"""The checks, one module for each table of the inventory."""
