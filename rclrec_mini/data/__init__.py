"""From raw log lines to interactions to user sequences."""
