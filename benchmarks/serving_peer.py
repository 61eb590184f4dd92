"""LitServe in front of a run, as its documentation has it: python benchmarks/serving_peer.py RUN"""

# LitServe takes the types of its route from `decode_request`, and cannot read annotations that are texts.
import socket
import sys
from typing import Any

import litserve

import gatework as gw


class Api(litserve.LitAPI):
    """Answers of a run, in batches."""

    def setup(self, device: str) -> None:
        self.task = gw.load(sys.argv[1])

    def decode_request(self, request: dict[str, Any]) -> str:
        return request["input"]

    def batch(self, inputs: list[str]) -> list[str]:
        return inputs

    def predict(self, inputs: list[str]) -> list[dict[str, Any]]:
        return self.task.predict(list(inputs))

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    print(f"http://127.0.0.1:{port}", file=sys.stderr, flush=True)
    server = litserve.LitServer(Api(max_batch_size=64, batch_timeout=0.002), accelerator="cpu", timeout=60)
    server.run(host="127.0.0.1", port=port, log_level="error", generate_client_file=False)
