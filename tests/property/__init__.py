"""Laws that hold whatever the input is. A package, because its modules are named like those of the unit tests."""
