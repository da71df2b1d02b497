"""The hub, and its cache where the hub does not answer."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants, get_session
from huggingface_hub import errors as hub_errors

HUB_ERRORS = (
    hub_errors.HfHubHTTPError,
    hub_errors.LocalEntryNotFoundError,
    hub_errors.OfflineModeIsEnabled,
)


@contextmanager
def hub_or_cache() -> Iterator[None]:
    """Offline mode where the hub does not answer: each library would ask it for half a minute."""
    offline = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = offline or not _hub_answers()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline


def _hub_answers() -> bool:
    try:
        get_session().head(constants.ENDPOINT, timeout=10)
    except Exception:  # the session's library differs between versions of huggingface_hub
        return False
    return True
