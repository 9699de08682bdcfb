"""What a client is told in answer to a message of its own: errors, pong, list, unsubscribed."""

import orjson

from feed.wire.errors import ErrorAnswer

RequestId = str | int | None


def reply(kind: str, request_id: RequestId = None, **content: object) -> str:
    return orjson.dumps({"type": kind, **content, **_echo(request_id)}).decode()


def error_reply(failure: ErrorAnswer, request_id: RequestId = None, **content: object) -> str:
    return reply("error", request_id, code=failure.code, message=failure.message, **content)


def echoed(request_id: RequestId) -> str:
    """The id as a further part of a message: `,"id":...`."""
    return f',"id":{orjson.dumps(request_id).decode()}' if request_id is not None else ""


def _echo(request_id: RequestId) -> dict[str, object]:
    return {} if request_id is None else {"id": request_id}
