"""The record of a submission as every reader sees it: states, events, the live stream, watching."""
