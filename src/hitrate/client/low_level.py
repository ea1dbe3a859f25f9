"""Building blocks for tools that call endpoints beyond `/v8/artifacts`, such as `/v1/runs`.

from hitrate.client.low_level import Call

call = Call("GET", "/v1/runs", lambda response: response.json(), {"accept": "application/json"})
runs = client.call(call, {})["runs"]

Applications need `hitrate.client` only.
"""

from typing import Any, Unpack

import httpx

from hitrate.client._content import atomic_write
from hitrate.client._operations import Call
from hitrate.client._options import CallOptions
from hitrate.client.sync import Download, Hitrate

__all__ = ["Call", "Download", "atomic_write", "send"]


def send(client: Hitrate, call: Call[Any], **options: Unpack[CallOptions]) -> httpx.Response:
    """Send a request, with retries, and return the response when its headers have arrived.

    The caller closes the response. `Download(response)` iterates over its body, which is not
    retried. Raises HitrateError.
    """
    return client.retry(call, lambda: client.send(call, options))
