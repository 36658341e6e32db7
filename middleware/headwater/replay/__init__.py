"""A recorded trace, replayed on a deployment: reading, lives, estimates, sums, tables and plots. Prints nothing."""
