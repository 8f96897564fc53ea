"""The read and live side: status, watching, WebSocket, SSE, rate limit decisions, OpenAPI. Holds no work."""
