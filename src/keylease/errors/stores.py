"""Secret stores that did not give a secret."""

from __future__ import annotations

from keylease.errors.base import KeyleaseError


class StoreError(KeyleaseError):
    """A secret store did not give the secret."""

    code = "store_error"
    http_status = 503


class StoreUnavailable(StoreError):
    """The store cannot be reached or answers with an error of its own."""

    code = "store_unavailable"


class StoreTimedOut(StoreUnavailable):
    """The store did not answer in time."""

    code = "store_timed_out"


class StoreAccessDenied(StoreError):
    """The store refuses our identity."""

    code = "store_access_denied"


class SecretNotFound(StoreError):
    """The store has nothing at this reference."""

    code = "secret_not_found"


class SecretInvalid(StoreError):
    """The store answered with something that cannot be a secret."""

    code = "secret_invalid"


class SecretTooOld(StoreError):
    """The store has a version of the secret that the policy does not allow any more."""

    code = "secret_too_old"


class StoreUnsupported(StoreError):
    """The store cannot be used on this machine, or not safely."""

    code = "store_unsupported"


class SealedStoreError(StoreError):
    """The sealed file store cannot be used."""

    code = "sealed_store_error"


class SealedKeyWrong(SealedStoreError):
    """The key file or passphrase is not the one that sealed the store."""

    code = "sealed_key_wrong"


class SealedKeyMissing(SealedStoreError):
    """There is a sealed store, and the key file or passphrase that opens it is not there."""

    code = "sealed_key_missing"


class SealedKeyExposed(SealedStoreError):
    """The key file can be read by others, or lies beside what it opens."""

    code = "sealed_key_exposed"


class SealedStoreCorrupt(SealedStoreError):
    """The sealed file was damaged or changed by something else."""

    code = "sealed_store_corrupt"
