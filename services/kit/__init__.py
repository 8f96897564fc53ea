"""What every Sentinel process needs and no business word: settings, logs, metrics, servers, group commit."""
