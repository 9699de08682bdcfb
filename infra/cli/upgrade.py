"""`fleet upgrade`"""

import asyncio

from common.settings import load
from common.store.client import commit_client
from common.store.format import FORMAT
from common.store.upgrading import upgrade as upgrade_store
from infra.cli.options import DataOption, store_url


def upgrade(data: DataOption = None) -> None:
    """Let the store be written in this release's form, the last step of an upgrade of a running fleet.

    Processes of a new release write an older store in its own form, so that those of the release before can work on
    beside them. Replace feeds first, then roll-up, workers and clock; then run this: each symbol takes on the new form
    with its next commit, and the older release refuses the store from then on. It can't be taken back. `infra/up` does
    it by itself where it runs all processes.

    Example: `fleet upgrade`
    """
    settings = load()
    before = asyncio.run(_upgrade(store_url(settings, data), settings.lease_ttl_ms))
    news = f"now, it was in {before}" if before < FORMAT else "already, the newest that this release knows"
    print(f"the store is in format {FORMAT} {news}")


async def _upgrade(url: str, lease_ttl_ms: int) -> int:
    async with commit_client(url) as client:
        return await upgrade_store(client, lease_ttl_ms)
