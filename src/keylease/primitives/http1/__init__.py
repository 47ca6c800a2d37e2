"""HTTP/1.1 over asyncio protocols: a strict server side, a pooled client side."""
