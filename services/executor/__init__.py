"""Runs attempts in jails and reports what they did; holds nothing that must survive."""
