"""What every code host's client does."""

import pytest
from twoloops.hosts.web import Client, HostError


def test_no_answer_from_the_host_is_told_in_words() -> None:
    client = Client("The host", "http://127.0.0.1:9", {}, "")
    with pytest.raises(HostError, match="does not answer"):
        client.ask("POST", "anything", {})
