"""What the checks stand on: the register of checks, and the bench that starts and ends daemons."""
