"""`python -m deploy.envoy FOLDER`: renders the edge from the environment, for containers.

SCHEDULERS, GATEWAYS and GATEWAYS_HTTP are comma lists of host:port.
"""

import os
import sys
from pathlib import Path

from deploy.envoy.render import Edge, Endpoint, render


def _endpoint(text: str) -> Endpoint:
    host, _, port = text.strip().rpartition(":")
    return Endpoint(host, int(port))


def _endpoints(variable: str) -> list[Endpoint]:
    return [_endpoint(text) for text in os.environ[variable].split(",") if text.strip()]


def main() -> None:
    """Renders."""
    edge = Edge.from_environment(
        os.environ,
        listen=_endpoint(os.environ.get("LISTEN", f"0.0.0.0:{os.environ.get('PORT', '8080')}")),
        admin=_endpoint(os.environ.get("ADMIN", "127.0.0.1:9901")),
        schedulers=_endpoints("SCHEDULERS"),
        gateways=_endpoints("GATEWAYS"),
        gateways_http=_endpoints("GATEWAYS_HTTP"),
        cluster_type="STRICT_DNS",
    )
    sys.stdout.write(f"{render(edge, Path(sys.argv[1]).resolve())}\n")


if __name__ == "__main__":
    main()
