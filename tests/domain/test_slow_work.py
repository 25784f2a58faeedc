"""Large bodies are parsed one at a time, and the event loop has its turn after every piece."""

from __future__ import annotations

import asyncio
import time

from evermodel.modeling.scoring.request_json import TURN, RequestRefusedError
from evermodel.serving.slow_work import SlowWork


def test_the_next_piece_waits_for_what_the_event_loop_has_to_do() -> None:
    order: list[str] = []

    def parse() -> str:
        time.sleep(0.001)  # a piece
        TURN.get()()
        order.append("the next piece")
        return "rows"

    def other_request() -> None:
        time.sleep(0.02)
        order.append("another request")

    async def both() -> str:
        large_bodies = SlowWork("large-bodies")
        asyncio.get_running_loop().call_soon(other_request)
        return await large_bodies.do(parse)

    assert asyncio.run(both()) == "rows"
    assert order == ["another request", "the next piece"]


def test_one_body_is_parsed_at_a_time_and_a_refusal_reaches_its_caller() -> None:
    active = most = 0

    def parse() -> None:
        nonlocal active, most
        active += 1
        most = max(most, active)
        time.sleep(0.005)
        active -= 1
        raise RequestRefusedError(422, "no")

    async def many() -> list[object]:
        large_bodies = SlowWork("large-bodies")
        return await asyncio.gather(*(large_bodies.do(parse) for _ in range(4)), return_exceptions=True)

    refusals = asyncio.run(many())
    assert [type(one) for one in refusals] == [RequestRefusedError] * 4
    assert most == 1
