"""The shipped DAGs: one module for each kind, with a function `build` that yields its DAGs."""
