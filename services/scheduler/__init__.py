"""Owns the truth about work: accepts, publishes, assigns, fences, settles."""
