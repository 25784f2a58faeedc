"""What tests of several packages share: data, models, and real servers to talk to; fixtures are in the `conftest.py` files."""
