"""What is done when the system has nothing left to give, and who did it when a process is gone."""
