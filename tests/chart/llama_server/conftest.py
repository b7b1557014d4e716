import pytest

from llama_server.pod import bring_loopback_up


@pytest.fixture(scope="session", autouse=True)
def loopback():
    bring_loopback_up()
