"""The edge: Envoy's configuration as a template, its Lua, and what renders them."""
