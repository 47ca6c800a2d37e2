"""One number that grows with everything bundles are made of, and who is woken by it."""

from __future__ import annotations

from keylease.platform.db.transaction import Transaction
from keylease.platform.policy import repository
from keylease.platform.policy.interfaces import Wake


class BundleInputs:
    """Told by every domain whose data is part of bundles."""

    def __init__(self) -> None:
        self._wakes: list[Wake] = []

    def on_change(self, wake: Wake) -> None:
        """Call ``wake`` with an organization's id after its bundles have changed."""
        self._wakes.append(wake)

    async def bundle_inputs_changed(self, tx: Transaction, organization_id: str) -> None:
        """Let every gateway get a new bundle once this transaction has committed."""
        state = await repository.lock_state(tx, organization_id)
        await repository.set_state(tx, organization_id, generation=state.generation + 1)

        def tell() -> None:
            for wake in self._wakes:
                wake(organization_id)

        tx.after_commit(tell)
