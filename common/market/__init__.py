"""The pure core: values in, values out. No Redis, no asyncio, no clock, no logging."""
